import jax
import numpy as np
import pytest

from gsu_jax.runtime import check_batch, fit_batch
from gsu_jax.unlearning import EpochShape, EpochSizes, epoch_order
from gsu_jax.unlearning._epoch import padded_shape

KEY = jax.random.key(0)


def order(key=KEY, epoch=0, room=None, **sizes):
    sizes = EpochSizes(**sizes)
    if room is None:  # just enough
        most = max(sizes.visited, sizes.retained)
        room = EpochShape(sizes.steps, sizes.batch, sizes.retain_batch, most)
    return [np.asarray(x) for x in epoch_order(key, epoch, sizes, room)]


SIZES = {"visited": 10, "batch": 4, "retained": 7, "retain_batch": 5, "steps": 3}


def test_an_epoch_visits_every_image_once():
    _, indices, mask, _ = order(**SIZES)
    assert indices.shape == mask.shape == (3, 4)
    np.testing.assert_array_equal(np.sort(indices[mask == 1]), np.arange(10))
    np.testing.assert_array_equal(mask.sum(1), [4, 4, 2])


def test_masked_places_are_filled_with_images_of_the_set():
    _, indices, mask, _ = order(**SIZES)
    assert set(indices[mask == 0]) <= set(range(10))


def test_one_image_is_an_epoch():
    number, indices, mask, _ = order(visited=1, batch=1, retained=7, retain_batch=5, steps=1)
    assert (number, indices, mask) == (0, 0, 1)


def test_a_batch_larger_than_its_set_is_masked():
    _, indices, mask, _ = order(visited=3, batch=8, retained=7, retain_batch=8, steps=1)
    np.testing.assert_array_equal(np.sort(indices[mask == 1]), [0, 1, 2])
    assert mask.sum() == 3


def test_retained_images_come_back_only_when_all_were_seen():
    retained = order(**SIZES)[3].ravel()
    assert len(retained) == 15
    for start in (0, 7):
        np.testing.assert_array_equal(np.sort(retained[start : start + 7]), np.arange(7))


def test_retained_images_come_in_a_new_order_each_time():
    sizes = SIZES | {"retained": 30, "retain_batch": 30}
    first, second, _ = order(**sizes)[3]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.sort(second))


def test_steps_are_numbered_through_all_epochs():
    np.testing.assert_array_equal(order(epoch=2, **SIZES)[0], [6, 7, 8])


def test_every_epoch_has_an_order_of_its_own():
    sizes = SIZES | {"visited": 40, "batch": 20, "steps": 2}
    assert not np.array_equal(order(epoch=0, **sizes)[1], order(epoch=1, **sizes)[1])


def test_the_key_decides_the_order():
    sizes = SIZES | {"visited": 40, "batch": 20, "steps": 2}
    first, again, other = (order(jax.random.key(k), **sizes)[1] for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# Room


def test_an_epoch_with_room_visits_every_image_once_in_as_many_steps():
    number, indices, mask, retained = order(room=EpochShape(8, 7, 5, 20), **SIZES)
    assert indices.shape == mask.shape == (8, 7)
    np.testing.assert_array_equal(number[:3], [0, 1, 2])
    np.testing.assert_array_equal(mask[:3].sum(1), [4, 4, 2])
    np.testing.assert_array_equal(np.sort(indices[:3][mask[:3] == 1]), np.arange(10))
    np.testing.assert_array_equal(np.sort(retained.ravel()[:7]), np.arange(7))
    assert indices.max() < 10
    assert retained.max() < 7


def test_masked_columns_are_spread_over_a_step():
    sizes = SIZES | {"visited": 12, "steps": 3}
    mask = order(room=EpochShape(3, 8, 5, 12), **sizes)[2]
    np.testing.assert_array_equal(mask, np.tile([1, 0], (3, 4)))


def test_sizes_are_no_part_of_the_program():
    room, compiled = EpochShape(8, 8, 5, 32), jax.jit(epoch_order, static_argnums=3)
    for visited, retained in ((10, 7), (25, 6), (3, 29)):
        sizes = EpochSizes(visited, min(visited, 8), retained, 5, -(-visited // 8))
        found = compiled(KEY, 1, sizes, room)
        for plain, traced in zip(epoch_order(KEY, 1, sizes, room), found, strict=True):
            np.testing.assert_array_equal(plain, traced)
    assert compiled._cache_size() == 1


def test_room_is_shared_by_sets_of_a_like_batch():
    def room(visited, batch, devices=1):
        sizes = EpochSizes(visited, batch, 900, 64, -(-visited // batch))
        return padded_shape(sizes, 128, 20_000, devices)

    assert room(6742, 128) == room(5421, 108) == EpochShape(256, 128, 64, 20_000)
    assert room(40_000, 128).steps == 512
    assert room(600, 200).batch == 200  # a method's own, larger than its batch_size
    assert room(120, 2).batch == 2
    assert room(150, 3).batch == 4
    assert room(120, 8, devices=8).batch == 8


# Devices


@pytest.fixture
def mesh():
    return jax.make_mesh((8,), ("images",), axis_types=(jax.sharding.AxisType.Auto,))


def test_a_smaller_set_shrinks_the_batch():
    assert fit_batch(128, 300, None) == 128
    assert fit_batch(128, 5, None) == 5


def test_on_a_mesh_a_smaller_set_shrinks_the_batch_to_a_multiple_of_its_devices(mesh):
    assert fit_batch(128, 300, mesh) == 128
    assert fit_batch(128, 20, mesh) == 24
    assert fit_batch(128, 1, mesh) == 8


def test_a_batch_that_does_not_divide_is_refused_with_the_devices(mesh):
    with pytest.raises(ValueError, match="12 images does not divide over mesh axis 'images' of 8"):
        check_batch(12, mesh)
    with pytest.raises(ValueError, match=r"^judging: a batch of 12 images"):
        check_batch(12, mesh, "judging")
    check_batch(16, mesh)
    check_batch(12, None)
