from functools import cache, partial

import gaussian_vae
import jax
import jax.numpy as jnp
import method_steps
import numpy as np
import pytest
from helpers import vector
from jax.flatten_util import ravel_pytree
from linear_autoencoder import MODEL, gradient, images
from method_steps import KEY

from gsu_jax import UNO, UNOS, NegGradPlus
from gsu_jax.methods.ingredients import over_masked

FORGET, RETAIN = images(2, 4, offset=0.3), images(3, 6)


@cache
def init():
    return MODEL.init(jax.random.key(1))


def batch_of(forget, mask=None, number=0):
    return method_steps.batch_of(forget, RETAIN, mask, number)


def step_of(method, batch, params=None, model=MODEL):
    params = init() if params is None else params
    return jax.jit(partial(method.gradients, model, None))(params, batch, KEY)


def squared_cosine(params):
    g_f, g_r = vector(gradient(params, FORGET)), vector(gradient(params, RETAIN))
    return (g_f @ g_r) ** 2 / (g_f @ g_f) / (g_r @ g_r)


def slopes_of_squared_cosine():
    """The gradient of C by central differences in float64, from the formula of both gradients."""
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), init())
    leaves, structure = jax.tree.flatten(wide)
    sizes = np.cumsum([leaf.size for leaf in leaves])

    def at(vector):
        parts = np.split(vector, sizes[:-1])
        reshaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return squared_cosine(structure.unflatten(reshaped))

    center, step = vector(wide), 1e-5
    return np.array(
        [(at(center + d) - at(center - d)) / (2 * step) for d in step * np.eye(len(center))]
    )


# UNO


@pytest.fixture(scope="module")
def uno():
    return step_of(UNO(weight=30.0), batch_of(FORGET))


def test_a_step_descends_the_retained_loss_and_the_squared_cosine(uno):
    of_cosine = 30.0 * slopes_of_squared_cosine()
    retained = vector(gradient(init(), RETAIN))
    assert np.linalg.norm(of_cosine) > np.linalg.norm(retained) / 10
    size = np.abs(of_cosine).max()
    np.testing.assert_allclose(vector(uno.updates) - retained, of_cosine, atol=1e-4 * size)


def test_the_history_has_the_squared_cosine_and_both_losses(uno):
    np.testing.assert_allclose(uno.metrics["squared_cosine"], squared_cosine(init()), rtol=1e-4)
    for name, data in (("forget_loss", FORGET), ("retain_loss", RETAIN)):
        np.testing.assert_allclose(
            uno.metrics[name], jax.jit(MODEL.loss)(init(), data, KEY), rtol=1e-5
        )


def test_a_filled_up_row_changes_nothing(uno):
    filled = batch_of(np.concatenate([FORGET, images(9, 1)]), [1.0, 1, 1, 1, 0])
    found = step_of(UNO(weight=30.0), filled)
    np.testing.assert_allclose(vector(found.updates), vector(uno.updates), rtol=1e-3, atol=1e-4)


def test_products_see_the_noise_of_their_gradients():
    model = gaussian_vae.MODEL
    params = model.init(jax.random.key(2))
    params["encoder"]["log_variance"] = jnp.zeros(3)  # much noise
    batch, (forget_key, retain_key) = batch_of(FORGET), jax.random.split(KEY)

    def objective(params):
        forget, retain = (
            ravel_pytree(jax.grad(loss)(params, data, key))[0]
            for loss, data, key in (
                (over_masked(model.loss), batch.visited, forget_key),
                (model.loss, batch.retain, retain_key),
            )
        )
        cosine = forget @ retain / jnp.linalg.norm(forget) / jnp.linalg.norm(retain)
        return model.loss(params, batch.retain, retain_key) + 30.0 * cosine**2

    expected = vector(jax.jit(jax.grad(objective))(params))
    found = vector(step_of(UNO(weight=30.0), batch, params, model).updates)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("method", [UNO(), UNOS()])
def test_where_nothing_is_left_to_forget_the_retained_loss_alone_is_descended(method):
    black = np.zeros((2, 2, 2, 1), np.float32)  # drawn as they are: the gradient is zero
    found = step_of(method, batch_of(black, number=0))
    np.testing.assert_allclose(vector(found.updates), vector(gradient(init(), RETAIN)), rtol=1e-4)
    assert found.metrics["squared_cosine"] == 0


# UNO-S


def test_uno_s_takes_the_first_step_of_uno_and_the_second_along_s(uno):
    gradients = jax.jit(partial(UNOS(weight=30.0).gradients, MODEL, None))
    first, second = (gradients(init(), batch_of(FORGET, number=n), KEY).updates for n in (0, 1))
    np.testing.assert_allclose(vector(first), vector(uno.updates), rtol=1e-4, atol=1e-5)
    g_f, g_r = (
        vector(gradient(init(), FORGET)),
        vector(gradient(init(), RETAIN)),
    )
    np.testing.assert_allclose(
        vector(second), g_r - (g_r @ g_f) / (g_f @ g_f) * g_f, rtol=1e-3, atol=1e-5
    )


# NegGrad+


def test_neg_grad_plus_is_the_weighted_sum_of_descent_and_ascent():
    found = vector(step_of(NegGradPlus(retain_share=0.8), batch_of(FORGET)).updates)
    expected = 0.8 * vector(gradient(init(), RETAIN)) - 0.2 * vector(gradient(init(), FORGET))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (UNO, {"weight": -1.0}, r"weight.*got -1.0"),
        (NegGradPlus, {"retain_share": 1.5}, r"retain_share.*got 1.5"),
    ],
)
def test_settings_that_cannot_work_are_refused(method, settings, message):
    with pytest.raises(ValueError, match=message):
        method(**settings)
