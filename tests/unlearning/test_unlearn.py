"""`unlearn` against loops by hand, and what it does with the caller's arrays and keys."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_equal, vector
from jax.flatten_util import ravel_pytree
from linear_autoencoder import MODEL, gradient, images

from gsu_jax import GenerativeModel, GradientAscent, unlearn

FORGET, RETAIN = images(1, 6, offset=0.5), images(2, 9)
ALL = {"batch_size": 6, "retain_batch_size": 9}  # whole sets, so that the order plays no part


@pytest.fixture(scope="module")
def key():
    return jax.random.key(1)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(0))


def run(params, key, method="gradient_ascent", batch_size=2, **settings):
    return unlearn(
        MODEL, params, FORGET, RETAIN, method=method, key=key, batch_size=batch_size, **settings
    )


def distance(a, b):
    return np.abs(vector(a) - vector(b)).max()


# What an epoch visits: the gradient of an image's own parameter is 1 / images in its batch


def visit(forget, retain, key, method="gradient_ascent", epochs=1):
    def own_parameter(params, images, key):
        return params[jnp.round(images[:, 0, 0, 0] * 255).astype(int)].mean()

    model = GenerativeModel(lambda key: jnp.zeros(20), own_parameter, None)
    numbered = np.tile(np.float32(range(20)).reshape(20, 1, 1, 1) / 255, (1, 2, 2, 1))
    return unlearn(
        model, jnp.zeros(20), numbered[forget], numbered[retain],
        method=method, key=key, optimizer=optax.sgd(1.0), batch_size=4, epochs=epochs,
    )  # fmt: skip


def test_epoch_visits_each_forget_image_once(key):
    result = visit(range(10), range(10, 20), key)
    assert result.steps == 3
    np.testing.assert_allclose(np.sort(result.params[:10]), [*[0.25] * 8, *[0.5] * 2])
    np.testing.assert_array_equal(result.params[10:], 0.0)


def test_one_image_is_an_epoch(key):
    result = visit([7], range(10, 20), key, epochs=2)
    assert result.steps == 2
    np.testing.assert_allclose(result.params, 2.0 * np.eye(20)[7])


def test_fine_tuning_visits_each_retained_image_once(key):
    result = visit([0], range(10, 20), key, method="fine_tune")
    np.testing.assert_allclose(np.sort(-result.params[10:]), [*[0.25] * 8, *[0.5] * 2])
    assert result.params[0] == 0


# Against loops by hand


def test_ascent_is_adam_on_minus_the_gradient(params, key):
    result = run(params, key, GradientAscent(learning_rate=0.02), epochs=4, **ALL)
    expected, optimizer = params, optax.adam(0.02)
    state = optimizer.init(expected)
    for _ in range(4):
        grads = jax.tree.map(lambda g: jnp.asarray(-g, jnp.float32), gradient(expected, FORGET))
        updates, state = optimizer.update(grads, state)
        expected = optax.apply_updates(expected, updates)
    assert_trees_close(result.params, expected, rtol=1e-4, atol=1e-5)
    assert distance(expected, params) > 0.05


@pytest.fixture(scope="module")
def surgery(params, key):
    return run(params, key, "gradient_surgery", optimizer=optax.sgd(0.1), epochs=3, **ALL)


def by_hand(params, project):
    """Three steps of SGD on vectors, and the cosines of -a and r at each."""
    theta, unravel = ravel_pytree(params)
    theta, cosines = np.asarray(theta, np.float64), []
    for _ in range(3):
        here = unravel(jnp.asarray(theta, jnp.float32))
        a, r = vector(gradient(here, FORGET)), vector(gradient(here, RETAIN))
        cosines.append(-a @ r / np.linalg.norm(a) / np.linalg.norm(r))
        theta -= 0.1 * (-a + project * (a @ r) / (r @ r) * r)
    return unravel(jnp.asarray(theta, jnp.float32)), cosines


def test_surgery_is_a_loop_on_vectors(surgery, params):
    expected, cosines = by_hand(params, project=1)
    assert_trees_close(surgery.params, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(surgery.history["cosine"], cosines, rtol=1e-3)


def test_applied_step_of_sgd_is_orthogonal_to_the_retain_gradient(surgery):
    assert np.abs(surgery.history["cosine"]).min() > 0.05
    np.testing.assert_allclose(surgery.history["applied_cosine"], 0.0, atol=1e-5)


def test_history_holds_the_losses_before_each_step(surgery, params, key):
    lengths = {name: len(values) for name, values in surgery.history.items()}
    assert lengths == {"forget_loss": 3, "retain_loss": 3, "cosine": 3, "applied_cosine": 3}
    for name, data in (("forget_loss", FORGET), ("retain_loss", RETAIN)):
        loss = MODEL.loss(params, data, key)
        np.testing.assert_allclose(surgery.history[name][0], loss, rtol=1e-5)
    assert surgery.history["forget_loss"][-1] > surgery.history["forget_loss"][0]


def test_surgery_keeps_the_retain_loss_that_ascent_raises(surgery, params, key):
    ascent, _ = by_hand(params, project=0)
    before, kept, lost = (
        float(MODEL.loss(theta, RETAIN, key)) for theta in (params, surgery.params, ascent)
    )
    assert lost - before > 5 * abs(kept - before)


# Baselines


@pytest.mark.parametrize(("method", "epochs"), [("before", 5), ("gradient_ascent", 0)])
def test_run_without_steps_returns_the_parameters(params, key, method, epochs):
    result = run(params, key, method, epochs=epochs)
    assert_trees_equal(result.params, params)
    assert (result.steps, result.history, result.stopped) == (0, {}, False)


def test_retraining_ignores_the_given_parameters(params, key):
    other, nan = (
        run(jax.tree.map(lambda leaf, x=x: leaf * x, params), key, "retrain").params
        for x in (2.0, jnp.nan)
    )
    assert_trees_equal(other, nan)


# The caller's arrays and keys


def test_parameters_are_neither_changed_nor_donated(params, key):
    given = jax.tree.map(jnp.copy, params)
    for method in ("before", "gradient_ascent"):
        run(given, key, method)
        assert_trees_equal(given, params)


def test_result_prints_as_one_line_without_its_parameters(params, key):
    result = run(params, key)
    first, last = result.history["forget_loss"][[0, -1]]
    assert f"{result.steps} steps" in repr(result)
    assert f"forget_loss {first:.4g} -> {last:.4g}" in repr(result)
    assert len(repr(result)) < 150
    assert "0 steps" in repr(run(params, key, "before"))
    long = dataclasses.replace(result, seconds=2330.4, compile_seconds=123.4)
    assert "2,330 s + 123 s compiling" in repr(long)


def test_numpy_parameters_are_accepted(params, key):
    result = run(jax.tree.map(np.asarray, params), key)
    assert_trees_equal(result.params, run(params, key).params)


def test_uint8_images_are_divided_by_255(params, key):
    whole = [(255 * x).astype(np.uint8) for x in (FORGET, RETAIN)]
    results = [
        unlearn(MODEL, params, *sets, method="gradient_ascent", key=key, batch_size=2).params
        for sets in (whole, [x / np.float32(255) for x in whole])
    ]
    assert_trees_close(*results, rtol=1e-5)


def test_key_decides_everything(params, key):
    first, again, other = (run(params, jax.random.key(k)) for k in (3, 3, 4))
    assert_trees_equal(first.params, again.params)
    assert_trees_equal(first.history, again.history)
    assert distance(first.params, other.params) > 1e-5


class CosineParams(NamedTuple):
    cosine: jax.Array


def test_parameter_called_cosine_is_not_recorded(key):
    params = {"cosine": jnp.ones(()), "other": CosineParams(jnp.ones(()))}

    def loss(params, images, key):
        return (params["cosine"] * params["other"].cosine * images).mean()

    model = GenerativeModel(None, loss, None)
    result = unlearn(model, params, FORGET, RETAIN, method="gradient_ascent", key=key)
    assert set(result.history) == {"forget_loss"}
