import jax
import pytest

from gsu_jax.runtime import make_mesh


@pytest.mark.parametrize("size", [1, 8])
def test_mesh_has_the_first_devices_along_data(size):
    mesh = make_mesh(f"data={size}")
    assert dict(mesh.shape) == {"data": size}
    assert mesh.devices.tolist() == jax.devices()[:size]


@pytest.mark.parametrize("text", ["data=4,model=2", "model=2,data=4"])
def test_second_axis_splits_parameters(text):
    mesh = make_mesh(text)
    assert dict(mesh.shape) == {"data": 4, "model": 2}
    assert mesh.axis_names == ("data", "model")


def test_parameters_alone_may_be_split():
    assert dict(make_mesh("model=2").shape) == {"data": 1, "model": 2}


@pytest.mark.parametrize(
    "text", ["", "data", "8", "data=", "data=two", "data=2.0", "data=2,data=4", "data=2,", "model"]
)
def test_text_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match=rf"--mesh.*data=N.*got '{text}'"):
        make_mesh(text)


def test_unknown_axis_is_refused():
    with pytest.raises(ValueError, match=r"--mesh fsdp=2.*'fsdp'.*model=2"):
        make_mesh("fsdp=2")


@pytest.mark.parametrize("size", [0, -3])
def test_mesh_without_devices_is_refused(size):
    with pytest.raises(ValueError, match=rf"--mesh data.*got {size}"):
        make_mesh(f"data={size}")


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"needs 8 .*got 1 \(cpu\).*data=1.*device_count=8"):
        make_mesh("data=8")


def test_devices_of_both_axes_count_together():
    with pytest.raises(ValueError, match=r"data=8,model=2 needs 16 .*got 8"):
        make_mesh("data=8,model=2")
