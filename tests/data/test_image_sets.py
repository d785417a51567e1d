"""Sets whose number of images is no part of a program's shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.data import ForgetRetainSets, ImageSet, concatenate, padded_size, random_order
from gsu_jax.models import encode_in_parts

KEY = jax.random.key(0)


def numbered(first, count, dtype=np.float32):
    """Images of one pixel whose value is their number."""
    return np.arange(first, first + count, dtype=dtype).reshape(count, 1, 1, 1)


def values(images):
    return np.asarray(images).ravel().tolist()


SETS = ForgetRetainSets(jnp.asarray(numbered(0, 16)), jnp.int32(5), jnp.int32(8))


def test_joined_sets_are_the_forgotten_then_the_retained():
    joined = concatenate(numbered(0, 5), numbered(10, 8))
    assert (joined.n_forget, joined.n_retain) == (5, 8)
    assert values(joined.forget.take(np.arange(5))) == list(range(5))
    assert values(joined.retain.take(np.arange(8))) == list(range(10, 18))


def test_every_division_of_as_many_images_has_one_shape():
    shapes = {concatenate(numbered(0, n), numbered(0, 1000 - n)).rows.shape for n in (1, 300, 999)}
    assert len(shapes) == 1


def test_bytes_stay_bytes_and_beside_floats_become_floats():
    pixels = numbered(0, 5, np.uint8) * 51
    assert concatenate(pixels, pixels).rows.dtype == np.uint8
    mixed = concatenate(pixels, pixels / np.float32(255))
    assert mixed.rows.dtype == np.float32
    np.testing.assert_allclose(
        *(values(s.take(np.arange(5))) for s in (mixed.forget, mixed.retain))
    )


@pytest.mark.parametrize("images", [1, 2, 15, 16, 17, 1000, 18_679, 60_000])
def test_the_room_is_an_eighth_at_most(images):
    assert images <= padded_size(images) <= images * 9 / 8


def test_the_room_has_eight_sizes_for_each_doubling():
    assert len({padded_size(images) for images in range(1025, 2049)}) == 8


def test_rows_are_a_multiple_of_the_devices():
    assert len(concatenate(numbered(0, 5), numbered(0, 6), multiple=8).rows) == 16


def test_an_image_set_of_an_array_is_all_of_it_and_a_set_is_itself():
    whole = ImageSet.of(numbered(0, 3))
    assert values(whole.take(jnp.arange(3))) == [0, 1, 2]
    assert ImageSet.of(whole) is whole


@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_random_order_has_the_numbers_below_the_count_first(count):
    found = np.asarray(random_order(KEY, jnp.int32(count), 16))
    np.testing.assert_array_equal(np.sort(found[:count]), np.arange(count))
    np.testing.assert_array_equal(np.sort(found), np.arange(16))


def test_a_random_order_favours_no_place():
    keys = jax.random.split(KEY, 4000)
    first = jax.vmap(lambda key: random_order(key, 4, 9)[0])(keys)
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, 0.25, atol=0.03)


def test_images_are_drawn_without_replacement():
    drawn = SETS.retain.draw(KEY, 6)
    found = values(drawn.take(jnp.arange(6)))
    assert drawn.count == 6
    assert len(set(found)) == 6
    assert set(found) <= set(range(5, 13))


def test_of_a_small_set_all_are_drawn():
    drawn = SETS.forget.draw(KEY, 12)
    assert drawn.count == 5
    assert set(values(drawn.take(jnp.arange(5)))) == set(range(5))


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_parts_cover_a_set_once(size):
    parts, size = SETS.retain.parts(size)
    seen = []
    for number in range(parts):
        images, mask = SETS.retain.part(number, size)
        assert images.shape == (size, 1, 1, 1)
        seen += np.asarray(images).ravel()[mask == 1].tolist()
    assert seen == list(range(5, 13))


class Model:
    """Encodes an image as its value."""

    @staticmethod
    def encode(params, images):
        value = params * images.reshape(len(images), 1)
        return value, -value


@pytest.mark.parametrize("size", [3, 1024])
def test_encoding_in_parts_is_encoding_at_once(size):
    encode = jax.jit(lambda sets: encode_in_parts(Model, 2.0, sets.retain, size))
    mean, log_variance = encode(SETS)
    assert mean.shape == (16, 1)
    assert values(mean[:8]) == [2.0 * n for n in range(5, 13)]
    np.testing.assert_array_equal(log_variance, -mean)
