import jax
import numpy as np
import optax
import pytest
from gaussian_vae import MODEL, VARIANCE
from helpers import vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax.methods import EraseDiff

FORGET, RETAIN = images(2, 5, offset=0.4), images(3, 9)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


@pytest.fixture(scope="module")
def moved(params):
    return jax.tree.map(
        lambda x: x + 0.1 * np.cos(np.arange(x.size, dtype="f")).reshape(x.shape), params
    )


def gradients(method, theta, teacher, forget=FORGET, mask=None):
    run = jax.jit(lambda p, t: method.gradients(MODEL, t, p, batch_of(forget, RETAIN, mask), KEY))
    return run(theta, teacher)


def test_forgotten_latents_of_the_trained_model_are_taught_uniform_noise(params, moved):
    many = np.tile(FORGET, (4000, 1, 1, 1))
    found = gradients(EraseDiff(), moved, params, many).updates
    # E over noise of -log N(u; z K + b): the gradient is z^T (z K + b - 1/2) / variance.
    z = np.asarray(FORGET.reshape(5, 4) @ params["encoder"]["kernel"], np.float64)
    error = (z @ moved["decoder"]["kernel"] + moved["decoder"]["bias"] - 0.5) / VARIANCE / 5
    np.testing.assert_allclose(found["decoder"]["kernel"], z.T @ error, atol=0.03)
    np.testing.assert_allclose(found["decoder"]["bias"], error.sum(0), atol=0.03)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["encoder"]))


def test_a_masked_image_does_not_count(params, moved):
    mask, other = np.float32([1, 1, 1, 1, 0]), np.concatenate([FORGET[:4], 1 - FORGET[4:]])
    one, two = (gradients(EraseDiff(), moved, params, x, mask).updates for x in (FORGET, other))
    np.testing.assert_array_equal(vector(one), vector(two))


def test_inner_steps_take_the_slope_at_their_end_away(params, moved):
    """L_f is quadratic in the decoder: the slope after an inner step is g - rate H g."""
    rate = 1e-2
    g = gradients(EraseDiff(), moved, params).updates
    ahead = jax.tree.map(lambda p, g: p - rate * g, moved, g)
    expected = vector(g) - vector(gradients(EraseDiff(), ahead, params).updates)
    found = gradients(EraseDiff(inner_steps=1, inner_rate=rate), moved, params).updates
    np.testing.assert_allclose(vector(found), expected, atol=1e-4 * np.abs(expected).max())
    twice = gradients(EraseDiff(inner_steps=2, inner_rate=rate), moved, params).updates
    assert np.linalg.norm(vector(twice)) > 1.2 * np.linalg.norm(expected)


@pytest.mark.parametrize("form", ["cosine", "bome"])
def test_the_step_is_the_retain_gradient_with_what_the_barrier_asks_for(params, moved, form):
    method = EraseDiff(eta=0.9, form=form)
    step = gradients(method, moved, params)
    chain = method.transform(optax.sgd(0.1), moved, 1)
    found, _ = chain.update(step.updates, chain.init(moved), moved, retain_grads=step.retain_grads)
    q, r = vector(step.updates), vector(step.retain_grads)
    size = {"cosine": np.linalg.norm(q) * np.linalg.norm(r), "bome": q @ q}[form]
    weight = 0.9 - q @ r / size
    assert weight > 0
    np.testing.assert_allclose(vector(found), -0.1 * (r + weight * q), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"eta": -0.1}, {"form": "norm"}, {"inner_steps": -1}, {"inner_rate": 0.0}]
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} .*got"):
        EraseDiff(**settings)
