"""Padded image sets, whose shapes do not depend on their number of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.data import ForgetRetainSets, ImageSet, concatenate, padded_size, random_order
from gsu_jax.models import encode_in_parts


@pytest.fixture(scope="module")
def key():
    return jax.random.key(0)


def numbered(first, count, dtype=np.float32):
    """Images of one pixel whose value is their number."""
    return np.arange(first, first + count, dtype=dtype).reshape(count, 1, 1, 1)


def values(images):
    return np.asarray(images).ravel().tolist()


@pytest.fixture(scope="module")
def sets():
    return ForgetRetainSets(jnp.asarray(numbered(0, 16)), jnp.int32(5), jnp.int32(8))


def test_concatenated_sets_are_forget_then_retain():
    both = concatenate(numbered(0, 5), numbered(10, 8))
    assert (both.n_forget, both.n_retain) == (5, 8)
    assert values(both.forget.take(np.arange(5))) == list(range(5))
    assert values(both.retain.take(np.arange(8))) == list(range(10, 18))


def test_all_splits_of_a_data_set_have_one_shape():
    splits = [concatenate(numbered(0, n), numbered(0, 1000 - n)) for n in (1, 300, 999)]
    assert len({split.images.shape for split in splits}) == 1


def test_uint8_stays_uint8_unless_the_other_set_is_float():
    pixels = numbered(0, 5, np.uint8) * 51
    assert concatenate(pixels, pixels).images.dtype == np.uint8
    mixed = concatenate(pixels, pixels / np.float32(255))
    assert mixed.images.dtype == np.float32
    np.testing.assert_allclose(
        *(values(s.take(np.arange(5))) for s in (mixed.forget, mixed.retain))
    )


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 1000, 18_679, 60_000])
def test_padding_is_at_most_an_eighth(n):
    assert n <= padded_size(n) <= n * 9 / 8


def test_padded_sizes_are_eight_per_doubling():
    assert len({padded_size(n) for n in range(1025, 2049)}) == 8


def test_padded_length_is_a_multiple_of_the_devices():
    assert len(concatenate(numbered(0, 5), numbered(0, 6), multiple=8).images) == 16


def test_an_image_set_of_an_array_holds_all_images():
    whole = ImageSet.of(numbered(0, 3))
    assert values(whole.take(jnp.arange(3))) == [0, 1, 2]
    assert ImageSet.of(whole) is whole


@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_random_order_starts_with_the_indices_below_the_count(count, key):
    found = np.asarray(random_order(key, jnp.int32(count), 16))
    np.testing.assert_array_equal(np.sort(found[:count]), np.arange(count))
    np.testing.assert_array_equal(np.sort(found), np.arange(16))


def test_a_random_order_is_uniform(key):
    keys = jax.random.split(key, 4000)
    first = jax.vmap(lambda key: random_order(key, 4, 9)[0])(keys)
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, 0.25, atol=0.03)


def test_images_are_drawn_without_replacement(sets, key):
    drawn = sets.retain.draw(key, 6)
    found = values(drawn.take(jnp.arange(6)))
    assert drawn.count == 6
    assert len(set(found)) == 6
    assert set(found) <= set(range(5, 13))


def test_all_images_of_a_small_set_are_drawn(sets, key):
    drawn = sets.forget.draw(key, 12)
    assert drawn.count == 5
    assert set(values(drawn.take(jnp.arange(5)))) == set(range(5))


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_chunks_cover_a_set_once(sets, size):
    chunks, size = sets.retain.chunks(size)
    seen = []
    for number in range(chunks):
        images, mask = sets.retain.chunk(number, size)
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
def test_encoding_in_chunks_is_encoding_at_once(sets, size):
    encode = jax.jit(lambda sets: encode_in_parts(Model, 2.0, sets.retain, size))
    mean, log_variance = encode(sets)
    assert mean.shape == (16, 1)
    assert values(mean[:8]) == [2.0 * n for n in range(5, 13)]
    np.testing.assert_array_equal(log_variance, -mean)
