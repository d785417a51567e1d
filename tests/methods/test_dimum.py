import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL, VARIANCE
from helpers import vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax.data import ImageSet
from gsu_jax.methods import DiMUM
from gsu_jax.methods._dimum import Prepared

FORGET, RETAIN = images(2, 5, offset=0.4), images(3, 9)
PAIRS = np.array([3, 0, 3, 8, 1])


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


@pytest.fixture(scope="module")
def moved(params):
    def move(x):
        return x + 0.1 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)

    return jax.tree.map(move, params)


def step(method, theta, teacher, batch):
    prepared = Prepared(teacher, ImageSet.of(RETAIN), jnp.asarray(PAIRS))
    return jax.jit(method.gradients, static_argnums=0)(MODEL, prepared, theta, batch, KEY)


def test_forgotten_latents_of_the_trained_model_are_taught_their_alternatives(params, moved):
    found = step(DiMUM(retain_weight=0.0), moved, params, batch_of(FORGET, RETAIN)).updates
    z = np.asarray(FORGET.reshape(5, 4) @ params["encoder"]["kernel"], np.float64)
    drawn = z @ moved["decoder"]["kernel"] + moved["decoder"]["bias"]
    error = (drawn - RETAIN[PAIRS].reshape(5, 4)) / VARIANCE / 5
    np.testing.assert_allclose(found["decoder"]["kernel"], z.T @ error, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found["decoder"]["bias"], error.sum(0), rtol=1e-3, atol=1e-3)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["encoder"]))


def test_the_alternative_follows_the_image_through_the_batches(params):
    """The batch in another order gives the same gradient."""
    order = np.array([4, 2, 0, 1, 3])
    batch = batch_of(FORGET[order], RETAIN)._replace(indices=jnp.asarray(order))
    method = DiMUM(retain_weight=0.0)
    one, other = (
        vector(step(method, params, params, b).updates) for b in (batch_of(FORGET, RETAIN), batch)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_a_masked_image_does_not_count(params):
    mask, other = np.float32([1, 1, 1, 1, 0]), np.concatenate([FORGET[:4], 1 - FORGET[4:]])
    one, two = (
        vector(step(DiMUM(), params, params, batch_of(x, RETAIN, mask)).updates)
        for x in (FORGET, other)
    )
    np.testing.assert_array_equal(one, two)


def test_retain_weight_adds_the_retain_gradient(params):
    batch = batch_of(FORGET, RETAIN)
    without, with_it = (step(DiMUM(retain_weight=w), params, params, batch) for w in (0.0, 2.0))
    added = vector(with_it.updates) - vector(without.updates)
    expected = 2 * vector(with_it.retain_grads)
    np.testing.assert_allclose(added, expected, rtol=1e-3, atol=1e-3)


def test_alternatives_are_retained_images_and_no_padding(params):
    padded = np.concatenate([RETAIN, np.full((20, 2, 2, 1), 50.0, np.float32)])
    retained = ImageSet(jnp.asarray(padded), 0, jnp.int32(9))
    forget = ImageSet.of(np.tile(FORGET, (40, 1, 1, 1)))
    for most in (4, 2048):
        _, alternatives, pairs = DiMUM(alternatives=most).prepare(
            MODEL, params, forget, retained, KEY
        )
        used = np.unique(np.asarray(alternatives.take(pairs)).reshape(200, 4), axis=0)
        assert len(used) == min(most, 9)
        assert used.max() <= 1


@pytest.mark.parametrize("settings", [{"retain_weight": -1.0}, {"alternatives": 0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} .*got"):
        DiMUM(**settings)
