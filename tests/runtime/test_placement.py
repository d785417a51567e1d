"""Where arrays lie on eight simulated devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.runtime import Placement


@pytest.fixture
def data():
    return Placement(jax.make_mesh((8,), ("images",)))


@pytest.fixture(params=[jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def both(request):
    """A mesh of two axes, of any kind."""
    return Placement(jax.make_mesh((4, 2), ("data", "model"), axis_types=(request.param,) * 2))


def parts(array):
    return {shard.data.shape for shard in array.addressable_shards}


def test_without_a_mesh_everything_is_on_one_device():
    place = Placement()
    assert place.devices == 1
    for put in (place.everywhere, place.parameters, place.rows, place.batches):
        assert put(np.zeros((4, 8))).devices() == {jax.devices()[0]}
    assert place.hold({"a": 1}) == {"a": 1}


def test_batches_are_split_and_everything_else_is_on_every_device(data):
    numbers, batches = data.batches((np.arange(3), np.zeros((3, 16))))
    assert parts(batches) == {(3, 2)}
    assert numbers.sharding.is_fully_replicated
    whole = data.everywhere(np.zeros((3, 16)))
    assert whole.sharding.is_fully_replicated
    assert len(whole.devices()) == 8


def test_batches_of_several_members_are_split_and_those_that_do_not_divide_stay_whole(data):
    assert parts(data.batches(np.zeros((3, 8, 16)))) == {(3, 8, 2)}
    assert data.batches(np.zeros((3, 12))).sharding.is_fully_replicated


def test_each_device_holds_its_part_of_the_images(data):
    assert parts(data.rows(np.zeros((16, 4, 4, 1)))) == {(2, 4, 4, 1)}


def test_on_one_axis_parameters_are_on_every_device(data):
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
def test_a_second_axis_splits_the_longest_axis_that_divides(both, shape, part):
    assert parts(both.parameters(np.zeros(shape))) == {part}


def test_the_axis_of_members_is_never_split(both):
    assert parts(both.parameters(np.zeros((8, 4)), lead=1)) == {(8, 2)}


def test_what_is_held_stays_where_it_was(both):
    placed = both.parameters({"a": np.zeros((6, 4)), "b": np.zeros(3)})
    held = jax.jit(lambda tree: both.hold(jax.tree.map(jnp.cos, tree)))(placed)
    assert parts(held["a"]) == {(3, 4)}
    assert held["b"].sharding.is_fully_replicated


def test_looked_up_images_are_those_of_their_indices_a_part_on_each_device(both):
    data = {"images": np.random.default_rng(0).random((10, 2, 2, 1)), "labels": np.arange(10)}
    indices = np.random.default_rng(1).integers(0, 10, (3, 2, 8))
    found = both.look_up(data, indices)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.float32(y[indices])), found, data)
    assert parts(found["images"]) == {(3, 2, 2, 2, 2, 1)}


def test_only_the_rows_of_a_devices_part_are_read(data):
    read = []

    class Watched(np.ndarray):
        def __getitem__(self, rows):
            read.append(rows.tolist())
            return np.asarray(self)[rows]

    data.look_up(np.arange(32).view(Watched), np.arange(16).reshape(1, 16))
    assert sorted(read) == [[[2 * i, 2 * i + 1]] for i in range(8)]
