from typing import NamedTuple

import gaussian_vae
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import count_compilations
from jax.flatten_util import ravel_pytree
from linear_autoencoder import MODEL, gradient, images

from gsu_jax import (
    FineTune,
    GenerativeModel,
    GradientAscent,
    GradientSurgery,
    RedirectSurgery,
    SynapticDampening,
    unlearn,
)
from gsu_jax.unlearning import compile_ahead

FORGET, RETAIN = images(1, 6, offset=0.5), images(2, 9)
PARAMS = MODEL.init(jax.random.key(0))
KEY = jax.random.key(1)
ALL = {"batch_size": 6, "retain_batch_size": 9}  # whole sets: the order plays no part


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)))


# What an epoch visits: the gradient of each image's own parameter is 1 / images in its batch


def own_parameter(params, images, key):
    return params[jnp.round(images[:, 0, 0, 0] * 255).astype(int)].mean()


VISITS = GenerativeModel(lambda key: jnp.zeros(20), own_parameter, None)
NUMBERED = np.tile(np.float32(range(20)).reshape(20, 1, 1, 1) / 255, (1, 2, 2, 1))


def visit(forget, retain, method="gradient_ascent", **settings):
    return unlearn(
        VISITS, jnp.zeros(20), NUMBERED[forget], NUMBERED[retain],
        method=method, key=KEY, optimizer=SGD, **settings,
    )  # fmt: skip


SGD = optax.sgd(1.0)


def test_an_epoch_visits_each_forget_image_exactly_once():
    result = visit(range(10), range(10, 20), batch_size=4)
    assert result.steps == 3
    visited = np.sort(result.params[:10])
    np.testing.assert_allclose(visited, [*[0.25] * 8, *[0.5] * 2])
    np.testing.assert_array_equal(result.params[10:], 0.0)


def test_a_set_smaller_than_a_batch_is_one_step():
    result = visit(range(3), range(10, 20))
    assert result.steps == 1
    np.testing.assert_allclose(result.params[:3], 1 / 3, rtol=1e-6)


def test_one_image_can_be_forgotten():
    result = visit([7], range(10, 20), epochs=2)
    assert result.steps == 2
    np.testing.assert_allclose(result.params, 2.0 * np.eye(20)[7])


def test_fine_tuning_visits_each_retained_image_exactly_once():
    result = visit([0], range(10, 20), method="fine_tune", batch_size=4)
    np.testing.assert_allclose(np.sort(-result.params[10:]), [*[0.25] * 8, *[0.5] * 2])
    assert result.params[0] == 0


# Against loops by hand


def test_ascent_is_a_loop_of_adam_on_minus_the_gradient():
    result = unlearn(
        MODEL, PARAMS, FORGET, RETAIN,
        method=GradientAscent(learning_rate=0.02), key=KEY, epochs=4, **ALL,
    )  # fmt: skip
    params, optimizer = PARAMS, optax.adam(0.02)
    state = optimizer.init(params)
    for _ in range(4):
        grads = jax.tree.map(lambda g: jnp.asarray(-g, jnp.float32), gradient(params, FORGET))
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
    assert_close(result.params, params, rtol=1e-4, atol=1e-5)
    assert difference(params, PARAMS) > 0.05


@pytest.fixture(scope="module")
def surgery():
    return unlearn(
        MODEL, PARAMS, FORGET, RETAIN,
        method="gradient_surgery", key=KEY, optimizer=optax.sgd(0.1), epochs=3, **ALL,
    )  # fmt: skip


def test_surgery_is_a_loop_on_one_long_vector(surgery):
    vector, unravel = ravel_pytree(PARAMS)
    vector, cosines = np.asarray(vector, np.float64), []
    for _ in range(3):
        a, r = (
            np.asarray(ravel_pytree(gradient(unravel(jnp.asarray(vector, jnp.float32)), x))[0],
                       np.float64)
            for x in (FORGET, RETAIN)
        )  # fmt: skip
        cosines.append(-a @ r / np.linalg.norm(a) / np.linalg.norm(r))
        vector -= 0.1 * (-a + (a @ r) / (r @ r) * r)
    np.testing.assert_allclose(ravel_pytree(surgery.params)[0], vector, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(surgery.history["cosine"], cosines, rtol=1e-3)


def test_with_sgd_the_applied_step_is_orthogonal_to_the_retain_gradient(surgery):
    assert np.abs(surgery.history["cosine"]).min() > 0.05
    np.testing.assert_allclose(surgery.history["applied_cosine"], 0.0, atol=1e-5)


def test_the_history_has_the_losses_before_each_step(surgery):
    assert {name: len(rows) for name, rows in surgery.history.items()} == dict.fromkeys(
        ("forget_loss", "retain_loss", "cosine", "applied_cosine"), 3
    )
    np.testing.assert_allclose(
        surgery.history["forget_loss"][0], MODEL.loss(PARAMS, FORGET, KEY), rtol=1e-5
    )
    np.testing.assert_allclose(
        surgery.history["retain_loss"][0], MODEL.loss(PARAMS, RETAIN, KEY), rtol=1e-5
    )
    assert surgery.history["forget_loss"][-1] > surgery.history["forget_loss"][0]


def test_surgery_keeps_the_retained_loss_where_ascent_loses_it(surgery):
    ascent = unlearn(
        MODEL, PARAMS, FORGET, RETAIN,
        method="gradient_ascent", key=KEY, optimizer=optax.sgd(0.1), epochs=3, **ALL,
    )  # fmt: skip
    before, kept, lost = (
        float(MODEL.loss(params, RETAIN, KEY)) for params in (PARAMS, surgery.params, ascent.params)
    )
    assert lost - before > 5 * abs(kept - before)


# Baselines


def test_before_returns_the_parameters_as_they_were():
    result = unlearn(MODEL, PARAMS, FORGET, RETAIN, method="before", key=KEY, epochs=5)
    assert_equal(result.params, PARAMS)
    assert (result.steps, result.history, result.stopped) == (0, {}, False)


def test_no_epochs_change_nothing():
    result = unlearn(MODEL, PARAMS, FORGET, RETAIN, method="fine_tune", key=KEY, epochs=0)
    assert_equal(result.params, PARAMS)
    assert result.steps == 0


def test_retraining_does_not_look_at_the_given_parameters():
    other = jax.tree.map(lambda leaf: leaf + 1.0, PARAMS)
    nan = jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS)
    first, second = (
        unlearn(MODEL, params, FORGET, RETAIN, method="retrain", key=KEY).params
        for params in (other, nan)
    )
    assert_equal(first, second)
    tuned = unlearn(MODEL, other, FORGET, RETAIN, method="fine_tune", key=KEY).params
    assert difference(first, tuned) > 0.5


# The caller's arrays, keys and clocks


def test_the_given_parameters_are_neither_donated_nor_changed():
    params = jax.tree.map(jnp.copy, PARAMS)
    for method in ("before", "fine_tune", "gradient_ascent"):
        unlearn(MODEL, params, FORGET, RETAIN, method=method, key=KEY, epochs=2)
        assert_equal(params, PARAMS)
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


def test_numpy_parameters_are_taken_as_well():
    numpy_params = jax.tree.map(np.asarray, PARAMS)
    ours, theirs = (
        unlearn(MODEL, params, FORGET, RETAIN, method="gradient_ascent", key=KEY).params
        for params in (numpy_params, PARAMS)
    )
    assert_equal(ours, theirs)


def test_uint8_images_are_their_255th_part():
    whole = [(255 * x).astype(np.uint8) for x in (FORGET, RETAIN)]
    scaled = [x / np.float32(255) for x in whole]
    ours, theirs = (
        unlearn(MODEL, PARAMS, *sets, method="gradient_ascent", key=KEY, optimizer=SGD).params
        for sets in (whole, scaled)
    )
    assert_close(ours, theirs, rtol=1e-5)


def test_the_key_decides_everything():
    first, again, other = (
        unlearn(
            MODEL, PARAMS, FORGET, RETAIN,
            method="gradient_surgery", key=jax.random.key(k), batch_size=2,
        )
        for k in (3, 3, 4)
    )  # fmt: skip
    assert_equal(first.params, again.params)
    assert_equal(first.history, again.history)
    assert difference(first.params, other.params) > 1e-5


def test_a_second_run_of_the_same_shapes_compiles_nothing():
    def run(params, key):
        return unlearn(
            MODEL, params, FORGET, RETAIN, method=GradientAscent(learning_rate=0.3), key=key
        )

    first = run(PARAMS, KEY)
    assert first.compile_seconds > 0
    other_key = jax.random.key(9)
    with count_compilations() as compiled:
        second = run(first.params, other_key)
    assert compiled == []
    assert second.compile_seconds == 0
    assert 0 < second.seconds < first.compile_seconds


def test_an_optimizer_of_your_own_takes_the_place_of_adam():
    result = unlearn(
        MODEL, PARAMS, FORGET, RETAIN, method="gradient_ascent", key=KEY, optimizer=optax.sgd(0.0)
    )
    assert_equal(result.params, PARAMS)
    assert result.steps == 1


class CosineParams(NamedTuple):
    cosine: jax.Array


@pytest.mark.parametrize("params", [{"cosine": jnp.ones(())}, CosineParams(jnp.ones(()))])
def test_a_parameter_called_cosine_is_no_conflict(params):
    def loss(params, images, key):
        return (jax.tree.leaves(params)[0] * images).mean()

    model = GenerativeModel(None, loss, None)
    result = unlearn(model, params, FORGET, RETAIN, method="gradient_ascent", key=KEY)
    assert set(result.history) == {"forget_loss"}


# What is refused


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "forget_it"}, ValueError, "unknown method 'forget_it'; known are before, retr"),
        ({"method": FineTune}, ValueError, "is given as an object"),
        ({"method": "redirect_surgery"}, ValueError, "redirect_surgery needs a model with encode"),
        (
            {"method": GradientSurgery(through="decoder")},
            ValueError,
            "gradient_surgery needs a model with encode",
        ),
        ({"guide": object()}, ValueError, "gradient_ascent uses no guide"),
        ({"forget": FORGET[:0]}, ValueError, "forget is empty"),
        ({"retain": RETAIN[:0]}, ValueError, "retain is empty"),
        ({"forget": FORGET * 255}, ValueError, "forget must lie in .*got values from"),
        ({"retain": np.full_like(RETAIN, np.nan)}, ValueError, "retain .* found NaN"),
        ({"forget": FORGET[0]}, ValueError, "forget.*got shape"),
        ({"forget": FORGET[:, :1]}, ValueError, r"one shape, found \(1, 2, 1\) and \(2, 2, 1\)"),
        ({"forget": FORGET.astype(int)}, TypeError, "forget must be uint8 or floating"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0, found -1"),
        ({"epochs": 0.5}, TypeError, "epochs must be an integer, found 0.5"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, found 0"),
        ({"retain_batch_size": 0}, ValueError, "retain_batch_size must be at least 1, found 0"),
        ({"optimizer": 1e-3}, TypeError, "optimizer must be an optax transform, found 0.001"),
    ],
)
def test_bad_arguments_are_refused_with_what_was_found(changes, error, message):
    arguments = {"forget": FORGET, "retain": RETAIN, "method": "gradient_ascent", "key": KEY}
    with pytest.raises(error, match=message):
        unlearn(MODEL, PARAMS, **arguments | changes)


# Those that look at the sets beforehand, and the paper's.
@pytest.mark.parametrize(
    "method",
    [
        "gradient_surgery", "redirect_surgery", "selective_amnesia", "synaptic_dampening", "salun",
        "vdu",
    ],
)  # fmt: skip
def test_a_second_request_of_another_size_compiles_nothing(method):
    everything = np.concatenate([images(1, 400, offset=0.3), images(2, 300)])
    params = gaussian_vae.MODEL.init(KEY)

    def request(n):
        sets = everything[:n], everything[n:]
        return unlearn(gaussian_vae.MODEL, params, *sets, method=method, key=KEY)

    assert request(390).compile_seconds > 0
    with count_compilations() as compiled:
        second = request(301)
    assert compiled == []
    assert second.compile_seconds == 0
    assert np.isfinite(ravel_pytree(second.params)[0]).all()


def test_what_is_compiled_ahead_is_not_compiled_again():
    method, given = RedirectSurgery(momentum=0.123), gaussian_vae.MODEL  # of no other test
    params, everything = jax.jit(given.init)(KEY), images(1, 700, offset=0.3)
    sets = everything[:355], everything[355:]
    unlearn(given, params, *sets, method="before", key=KEY)  # keys are split, arrays placed
    assert compile_ahead(given, (2, 2, 1), 380, 320, method=method, dtype=np.float32) > 0
    with count_compilations() as compiled:
        result = unlearn(given, params, *sets, method=method, key=KEY)
    assert compiled == []
    assert result.compile_seconds == 0


def test_a_method_without_steps_is_compiled_ahead_too():
    method, sets = SynapticDampening(threshold=7.5), (images(1, 20, offset=0.3), images(2, 20))
    assert compile_ahead(MODEL, (2, 2, 1), 20, 20, method=method, dtype=np.float32) > 0
    result = unlearn(MODEL, PARAMS, *sets, method=method, key=KEY)
    assert (result.steps, result.compile_seconds) == (0, 0)
