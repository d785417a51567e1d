"""Where arrays lie on eight simulated devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.runtime import Placement, take_rows


@pytest.fixture(scope="module")
def data():
    return Placement(jax.make_mesh((8,), ("images",)))


@pytest.fixture(params=[jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def both(request):
    """A mesh of two axes, of either type."""
    return Placement(jax.make_mesh((4, 2), ("data", "model"), axis_types=(request.param,) * 2))


def parts(array):
    return {shard.data.shape for shard in array.addressable_shards}


def test_without_a_mesh_everything_is_on_one_device():
    place = Placement()
    assert place.devices == 1
    for put in (place.replicate, place.parameters, place.images, place.batches):
        assert put(np.zeros((4, 8))).devices() == {jax.devices()[0]}
    assert place.constrain({"a": 1}) == {"a": 1}


def test_batches_are_split_and_other_arrays_are_replicated(data):
    numbers, batches = data.batches((np.arange(3), np.zeros((3, 16))))
    assert parts(batches) == {(3, 2)}
    assert numbers.sharding.is_fully_replicated
    whole = data.replicate(np.zeros((3, 16)))
    assert whole.sharding.is_fully_replicated
    assert len(whole.devices()) == 8


def test_batch_that_the_devices_do_not_divide_is_replicated(data):
    assert parts(data.batches(np.zeros((3, 8, 16)))) == {(3, 8, 2)}
    assert data.batches(np.zeros((3, 12))).sharding.is_fully_replicated


def test_each_device_holds_its_share_of_the_images(data):
    assert parts(data.images(np.zeros((16, 4, 4, 1)))) == {(2, 4, 4, 1)}


# Parameters


def test_one_axis_replicates_parameters(data):
    assert data.parameters(np.zeros((16, 8))).sharding.is_fully_replicated


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((6, 4), (3, 4)),  # the longest axis
        ((4, 6), (4, 3)),
        ((4, 4), (2, 4)),  # the first of two as long
        ((7, 4), (7, 2)),  # the longest that divides
        ((7, 5), (7, 5)),
        ((), ()),
    ],
)
def test_second_axis_splits_the_longest_axis_that_divides(both, shape, part):
    assert parts(both.parameters(np.zeros(shape))) == {part}


def test_axis_of_members_is_never_split(both):
    assert parts(both.parameters(np.zeros((8, 4)), lead=1)) == {(8, 2)}


def test_constrained_parameters_stay_split(both):
    placed = both.parameters({"a": np.zeros((6, 4)), "b": np.zeros(3)})
    result = jax.jit(lambda tree: both.constrain(jax.tree.map(jnp.cos, tree)))(placed)
    assert parts(result["a"]) == {(3, 4)}
    assert result["b"].sharding.is_fully_replicated


# Gathering


@pytest.fixture(scope="module")
def examples():
    return {"images": np.random.default_rng(0).random((10, 2, 2, 1)), "labels": np.arange(10)}


INDICES = np.random.default_rng(1).integers(0, 10, (3, 2, 8))


def gathered_steps(place, examples, steps):
    constant, inputs = place.gather(examples, INDICES, steps)
    take = jax.jit(take_rows)
    return [take(constant, jax.tree.map(lambda x, i=i: x[i], inputs)) for i in range(steps)]


def test_gathered_rows_are_the_same_with_and_without_a_mesh(both, examples):
    for place in (Placement(), both):
        for step, found in enumerate(gathered_steps(place, examples, 2)):
            expected = jax.tree.map(lambda x, i=step: np.float32(x[INDICES[i]]), examples)
            jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_gathered_images_are_split_over_the_devices(both, examples):
    constant, found = both.gather(examples, INDICES, 2)
    assert constant is None
    assert parts(found["images"]) == {(2, 2, 2, 2, 2, 1)}


def test_without_a_mesh_steps_take_rows_from_the_device(examples):
    on_device = jax.tree.map(jnp.asarray, examples)
    constant, inputs = Placement().gather(examples, INDICES, 2, on_device=on_device)
    assert constant is on_device
    assert inputs is INDICES


def test_each_device_reads_its_share_only(data):
    read = []

    class Watched(np.ndarray):
        def __getitem__(self, rows):
            read.append(rows.tolist())
            return np.asarray(self)[rows]

    data.gather(np.arange(32).view(Watched), np.arange(16).reshape(1, 16))
    assert sorted(read) == [[[2 * i, 2 * i + 1]] for i in range(8)]


# Batch sizes


@pytest.mark.parametrize(("images", "alone", "shared"), [(300, 128, 128), (20, 20, 24), (1, 1, 8)])
def test_small_set_shrinks_the_batch_to_a_multiple_of_the_devices(data, images, alone, shared):
    assert Placement().fit_batch(128, images) == alone
    assert data.fit_batch(128, images) == shared


def test_batch_that_does_not_divide_is_refused(data):
    with pytest.raises(ValueError, match=r"batch.* 8 devices .*'images', got 12"):
        data.check_batch(12)
    with pytest.raises(ValueError, match=r"^judging: .*got 12"):
        data.check_batch(12, "judging")
    data.check_batch(16)
    Placement().check_batch(12)
