from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL, VARIANCE
from linear_autoencoder import MODEL as AUTOENCODER
from linear_autoencoder import gradient, images
from method_steps import KEY, batch_of

from gsu_jax import SelectiveAmnesia
from gsu_jax.curvature import mean_squared_gradient
from gsu_jax.data import ImageSet
from gsu_jax.methods._selective_amnesia import Prepared

FORGET, RETAIN = images(2, 5, offset=0.4), images(3, 9)


@cache
def teacher():
    return MODEL.init(jax.random.key(1))


@cache
def no_fisher():
    return jax.tree.map(jnp.zeros_like, teacher())


@cache
def fisher_diagonal():
    return jax.tree.map(lambda x: 0.1 + jnp.square(x), teacher())


def moved(seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + jnp.float32(0.1 * rng.normal(size=x.shape)), teacher())


def brighter(threshold, images):
    return (images.mean((1, 2, 3)) > threshold).astype(jnp.float32)


jitted = jax.jit(SelectiveAmnesia().gradients, static_argnums=0)


def gradients(params, x, mask=None, fisher=None, threshold=-jnp.inf):
    """With a guide that takes what is brighter than `threshold` for forgotten: all, by default."""
    batch = batch_of(x, RETAIN, mask)
    fisher = fisher_diagonal() if fisher is None else fisher
    prepared = Prepared(teacher(), fisher, jax.tree_util.Partial(brighter, threshold))
    return jitted(MODEL, prepared, params, batch, KEY)


def test_forgotten_latents_are_taught_uniform_noise():
    params, x = moved(), np.tile(FORGET, (4000, 1, 1, 1))
    found = gradients(params, x, fisher=no_fisher()).updates
    # E over noise of -log N(u; z K + b): the gradient is z^T (z K + b - 1/2) / variance.
    z = np.asarray(FORGET.reshape(5, 4) @ teacher()["encoder"]["kernel"], np.float64)
    error = (z @ params["decoder"]["kernel"] + params["decoder"]["bias"] - 0.5) / VARIANCE / 5
    np.testing.assert_allclose(found["decoder"]["kernel"], z.T @ error, atol=0.03)
    np.testing.assert_allclose(found["decoder"]["bias"], error.sum(0), atol=0.03)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["encoder"]))


def test_a_masked_image_does_not_count():
    mask = jnp.array([1.0, 1, 1, 1, 0])
    other = np.concatenate([FORGET[:4], 1 - FORGET[4:]])
    one, two = (gradients(moved(), x, mask).updates for x in (FORGET, other))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), one, two)


def test_the_penalty_pulls_back_by_twice_its_weight_times_fisher():
    params = moved()
    with_it, without = (
        gradients(params, FORGET, fisher=fisher).updates
        for fisher in (fisher_diagonal(), no_fisher())
    )
    expected = jax.tree.map(lambda f, p, t: 200 * f * (p - t), fisher_diagonal(), params, teacher())
    found = jax.tree.map(jnp.subtract, with_it, without)
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-3, atol=1e-3), found, expected
    )


def test_samples_that_the_guide_calls_forgotten_are_not_replayed():
    nothing, some, everything = (
        float(gradients(moved(), FORGET, threshold=threshold).metrics["retain_loss"])
        for threshold in (-jnp.inf, 0.5, jnp.inf)
    )
    assert nothing == 0
    assert len({nothing, some, everything}) == 3


def test_replay_is_the_training_loss_of_the_teachers_samples():
    params, x = moved(), np.tile(FORGET, (4000, 1, 1, 1))
    found = gradients(params, x, threshold=jnp.inf)
    drawn = MODEL.sample(teacher(), jax.random.key(5), 20_000)
    expected = MODEL.loss(params, drawn, jax.random.key(6))
    np.testing.assert_allclose(found.metrics["retain_loss"], expected, rtol=0.05)


@pytest.mark.parametrize("n", [7, 3])
def test_fisher_is_the_mean_of_each_images_squared_gradient(n):
    params, x = AUTOENCODER.init(KEY), images(4, n)
    squares = jax.jit(partial(mean_squared_gradient, AUTOENCODER.loss, at_once=4))
    found = squares(params, ImageSet.of(x), KEY)
    squares = [jax.tree.map(np.square, gradient(params, image[None])) for image in x]
    expected = jax.tree.map(lambda *leaves: np.mean(leaves, 0), *squares)
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-4), found, expected)


def test_a_given_guide_is_taken_and_none_trained():
    def given(images):
        return brighter(0.5, images)

    prepare = partial(SelectiveAmnesia(guide=given).prepare, MODEL)
    sets = jnp.asarray(FORGET), jnp.asarray(RETAIN)
    guide = jax.eval_shape(prepare, teacher(), *sets, KEY).guide
    assert guide.func is given
    assert jax.tree.leaves(guide) == []


@pytest.mark.parametrize("settings", [{"fisher_samples": 0}, {"replay_weight": -1.0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=r"(fisher_samples|replay_weight) .*got"):
        SelectiveAmnesia(**settings)
