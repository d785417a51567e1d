from functools import partial

import jax
import numpy as np
import pytest
from helpers import assert_trees_equal

from gsu_jax.unlearning import EpochShape, EpochSizes, epoch_order
from gsu_jax.unlearning._epoch import padded_shape

SIZES = EpochSizes(visited=10, batch=4, retained=7, retain_batch=5, steps=3)
EXACT = EpochShape(steps=3, batch=4, retain_batch=5, images=10)


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(epoch_order, static_argnums=3)


@pytest.fixture(scope="module")
def draw(compiled):
    """Draws the order of an epoch as NumPy arrays."""

    def draw(seed=0, epoch=0, shape=EXACT, **sizes):
        order = compiled(jax.random.key(seed), epoch, SIZES._replace(**sizes), shape)
        return jax.tree.map(np.asarray, order)

    return draw


def test_epoch_visits_every_image_once(draw):
    order = draw()
    assert order.indices.shape == order.mask.shape == (3, 4)
    np.testing.assert_array_equal(np.sort(order.indices[order.mask == 1]), np.arange(10))
    np.testing.assert_array_equal(order.mask.sum(1), [4, 4, 2])


def test_padding_holds_images_of_the_set(draw):
    order = draw()
    assert set(order.indices[order.mask == 0]) <= set(range(10))


def test_one_image_is_an_epoch(draw):
    order = draw(visited=1, batch=1, steps=1)
    assert order.mask[0].sum() == 1
    np.testing.assert_array_equal(order.indices[0], 0)


def test_batch_larger_than_its_set_is_masked(draw):
    order = draw(visited=3, batch=4, steps=1)
    np.testing.assert_array_equal(np.sort(order.indices[0][order.mask[0] == 1]), [0, 1, 2])


def test_retained_images_are_drawn_without_replacement(draw):
    retained = draw().retained.ravel()
    assert len(retained) == 15
    for start in (0, 7):
        np.testing.assert_array_equal(np.sort(retained[start : start + 7]), np.arange(7))
    assert not np.array_equal(retained[:7], retained[7:14])


def test_rows_are_counted_from_the_first_image_of_a_set(draw):
    order = draw(first_visited=100, first_retained=200)
    np.testing.assert_array_equal(order.visited, 100 + order.indices)
    np.testing.assert_array_equal(order.retained, 200 + draw().retained)


def test_steps_are_numbered_through_all_epochs(draw):
    np.testing.assert_array_equal(draw(epoch=2).number, [6, 7, 8])


def test_epochs_have_different_orders(draw):
    assert not np.array_equal(draw(epoch=0).indices, draw(epoch=1).indices)


def test_key_decides_the_order(draw):
    assert_trees_equal(draw(seed=1), draw(seed=1))
    assert not np.array_equal(draw(seed=1).indices, draw(seed=2).indices)


# Padded shapes


def test_padded_epoch_visits_every_image_once(draw):
    order = draw(shape=EpochShape(steps=8, batch=7, retain_batch=5, images=20))
    assert order.indices.shape == order.mask.shape == (8, 7)
    np.testing.assert_array_equal(order.number[:3], [0, 1, 2])
    np.testing.assert_array_equal(order.mask[:3].sum(1), [4, 4, 2])
    visited = order.indices[:3][order.mask[:3] == 1]
    np.testing.assert_array_equal(np.sort(visited), np.arange(10))
    np.testing.assert_array_equal(np.sort(order.retained.ravel()[:7]), np.arange(7))
    assert order.indices.max() < 10
    assert order.retained.max() < 7


def test_padding_columns_are_spread_over_a_step(draw):
    mask = draw(shape=EpochShape(3, 8, 5, 12), visited=12).mask
    np.testing.assert_array_equal(mask, np.tile([1, 0], (3, 4)))


def test_one_program_serves_all_sizes(compiled):
    compiled.clear_cache()
    draw = partial(compiled, jax.random.key(0), 1)
    for visited, retained in ((10, 7), (25, 6), (3, 29)):
        sizes = EpochSizes(visited, min(visited, 8), retained, 5, -(-visited // 8))
        mask = np.asarray(draw(sizes, EpochShape(8, 8, 5, 32)).mask)
        assert mask[: sizes.steps].sum() == visited
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    ("visited", "batch", "devices", "expected"),
    [
        (6742, 128, 1, EpochShape(256, 128, 64, 20_000)),
        (5421, 108, 1, EpochShape(256, 128, 64, 20_000)),
        (40_000, 128, 1, EpochShape(512, 128, 64, 20_000)),
        (600, 200, 1, EpochShape(256, 200, 64, 20_000)),  # larger than the method's default
        (120, 2, 1, EpochShape(256, 2, 64, 20_000)),
        (150, 3, 1, EpochShape(256, 4, 64, 20_000)),
        (120, 8, 8, EpochShape(256, 8, 64, 20_000)),
    ],
)
def test_similar_batches_share_a_shape(visited, batch, devices, expected):
    sizes = EpochSizes(visited, batch, 900, 64, -(-visited // batch))
    assert padded_shape(sizes, 128, 20_000, devices) == expected
