import jax
import pytest

from gsu_jax.runtime import make_mesh


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_mesh_has_the_first_devices_along_data(size):
    mesh = make_mesh(f"data={size}")
    assert dict(mesh.shape) == {"data": size}
    assert mesh.devices.tolist() == jax.devices()[:size]


@pytest.mark.parametrize(
    "text", ["", "data", "8", "data=", "data=two", "data=2.0", "data=2,data=4", "data=2,", "model"]
)
def test_words_of_another_form_are_refused_with_the_right_one(text):
    with pytest.raises(ValueError, match=rf"^--mesh '{text}' is not of the form data=N"):
        make_mesh(text)


@pytest.mark.parametrize("text", ["data=4,model=2", "model=2,data=4"])
def test_a_second_axis_splits_parameters(text):
    mesh = make_mesh(text)
    assert dict(mesh.shape) == {"data": 4, "model": 2}
    assert mesh.axis_names == ("data", "model")


def test_parameters_alone_may_be_split():
    assert dict(make_mesh("model=2").shape) == {"data": 1, "model": 2}


def test_another_axis_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"fsdp=2: there is no axis 'fsdp'; .*model=2"):
        make_mesh("fsdp=2")


@pytest.mark.parametrize("size", [0, -3])
def test_a_mesh_of_no_devices_is_refused(size):
    with pytest.raises(ValueError, match=f"data={size}: .* must be at least 1, found {size}"):
        make_mesh(f"data={size}")


def test_more_devices_than_there_are_is_refused_with_both_and_how_to_simulate_them(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"asks for 8 devices, found 1 \(cpu\)") as caught:
        make_mesh("data=8")
    assert "at most 1 in all, such as data=1" in str(caught.value)
    assert "XLA_FLAGS=--xla_force_host_platform_device_count=8" in str(caught.value)


def test_the_devices_of_both_axes_count_together():
    with pytest.raises(ValueError, match=r"data=8,model=2 asks for 16 devices, found 8"):
        make_mesh("data=8,model=2")
