import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_autoencoder import images
from method_steps import KEY

from gsu_jax.methods.ingredients import resolve_guide
from gsu_jax.methods.ingredients._guide import guide_probability, train_guide


@pytest.fixture(scope="module")
def guide():
    """Of few forgotten images against many retained ones that are darker."""
    return train_guide(images(0, 30, offset=0.4), images(1, 200), KEY)


def test_a_guide_tells_images_apart_that_it_has_not_seen(guide):
    forget, retain = images(2, 500, offset=0.4), images(3, 500)
    assert (guide_probability(guide, forget) > 0.5).mean() > 0.9
    assert (guide_probability(guide, retain) < 0.5).mean() > 0.9


def test_a_probability_is_that_of_two_layers_by_hand(guide):
    x = images(4, 5)
    hidden = np.maximum((x.reshape(5, 4) - 0.5) @ guide.kernel + guide.bias, 0)
    expected = 1 / (1 + np.exp(-(hidden @ guide.out_kernel + guide.out_bias)))
    np.testing.assert_allclose(guide_probability(guide, x), expected, rtol=1e-5)


def test_bytes_are_scaled_as_floats_are(guide):
    x = (255 * images(5, 6)).astype(np.uint8)
    np.testing.assert_allclose(
        guide_probability(guide, x), guide_probability(guide, x / np.float32(255)), rtol=1e-6
    )


def test_batches_are_balanced_so_that_the_larger_set_does_not_win():
    flat = np.full((100, 2, 2, 1), 0.5, np.float32)
    guide = train_guide(flat[:5], flat, KEY, steps=20)
    np.testing.assert_allclose(guide_probability(guide, flat[:1]), 0.5, atol=1e-3)


def test_a_given_guide_is_used_and_none_trained():
    given = resolve_guide(lambda x: x.mean((1, 2, 3)), None, None, KEY)
    assert jax.tree.leaves(given) == []
    np.testing.assert_allclose(given(jnp.full((2, 2, 2, 1), 0.3)), 0.3)


def test_an_own_guide_passes_through_jit_and_is_the_trained_one(guide):
    x = jnp.asarray(images(6, 5))
    sets = images(0, 30, offset=0.4), images(1, 200)
    own = jax.jit(lambda forget, retain: resolve_guide(None, forget, retain, KEY))(*sets)
    found = jax.jit(lambda own, x: own(x))(own, x)
    np.testing.assert_allclose(found, guide_probability(guide, x), rtol=1e-3)


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(ValueError, match=r"forget and retain.*got \(2, 2, 1\) and \(3, 2, 1\)"):
        train_guide(images(0, 3), np.zeros((3, 3, 2, 1), np.float32), KEY)
    with pytest.raises(ValueError, match=r"batch_size.*got 1"):
        train_guide(images(0, 3), images(1, 3), KEY, batch_size=1)
