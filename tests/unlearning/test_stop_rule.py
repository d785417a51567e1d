import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_autoencoder import images

from gsu_jax import GenerativeModel, StopRule, unlearn

KEY = jax.random.key(1)
SGD = optax.sgd(1.0)


def one_more(params, images, key):
    """Ascended by SGD(1), the parameter counts the steps."""
    return params * images.mean() / jax.lax.stop_gradient(images.mean())


COUNTER = GenerativeModel(None, one_more, None)


def count_steps(stop=None, callback=None, epochs=1, callback_every=None):
    return unlearn(
        COUNTER, jnp.float32(0.0), images(0, 12) + 0.1, images(2, 9), method="gradient_ascent",
        key=KEY, optimizer=SGD, batch_size=2, epochs=epochs, stop=stop, callback=callback,
        callback_every=callback_every,
    )  # fmt: skip


def at_two_and_from_four_on(params, key):
    steps = jnp.round(params)
    return jnp.where((steps == 2) | (steps >= 4), 0.0, 1.0)


def test_run_stops_when_the_metric_holds_in_enough_checks_in_a_row():
    stop = StopRule(at_two_and_from_four_on, at_most=0.5, every=1, times=2)
    result = count_steps(stop)
    assert (result.steps, result.stopped) == (5, True)
    np.testing.assert_allclose(result.params, 5.0, rtol=1e-5)
    np.testing.assert_array_equal(result.history["stop_metric"], [1, 0, 1, 0, 0])
    assert len(result.history["forget_loss"]) == 5


def test_checks_are_every_few_steps_and_at_the_end_of_an_epoch():
    stop = StopRule(at_two_and_from_four_on, at_most=0.5, every=4, times=3)
    result = count_steps(stop, epochs=2)
    assert (result.steps, result.stopped) == (10, True)
    checks = np.flatnonzero(np.isfinite(result.history["stop_metric"])) + 1
    np.testing.assert_array_equal(checks, [4, 6, 10])


def test_metric_that_never_holds_stops_nothing():
    stop = StopRule(lambda params, key: jnp.nan, at_most=0.5, every=4)
    result = count_steps(stop, epochs=2)
    assert (result.steps, result.stopped) == (12, False)


def test_metric_gets_a_new_key_at_every_check():
    stop = StopRule(lambda params, key: 1 + jax.random.uniform(key), at_most=0.5, every=1)
    assert len(set(count_steps(stop).history["stop_metric"])) == 6


@pytest.mark.parametrize("every", [None, 4])
def test_callback_gets_the_whole_history_in_parts(every):
    stop = StopRule(at_two_and_from_four_on, at_most=-1.0, every=every) if every else None
    calls = []
    result = count_steps(stop, lambda *call: calls.append(call), epochs=2)
    assert [steps for steps, *_ in calls] == ([4, 6, 10, 12] if every else [6, 12])
    joined = {name: np.concatenate([rows[name] for _, rows, _ in calls]) for name in calls[0][1]}
    jax.tree.map(np.testing.assert_array_equal, joined, result.history)


def test_callback_is_called_every_few_steps_with_the_parameters_in_hand():
    calls = []
    result = count_steps(callback=lambda *call: calls.append(call), epochs=2, callback_every=4)
    assert [steps for steps, *_ in calls] == [4, 6, 10, 12]
    assert [len(rows["forget_loss"]) for _, rows, _ in calls] == [4, 2, 4, 2]
    np.testing.assert_allclose([params for *_, params in calls], [4, 6, 10, 12], rtol=1e-5)
    assert (result.steps, result.stopped) == (12, False)


def test_callback_and_stop_rule_have_intervals_of_their_own():
    calls = []
    stop = StopRule(at_two_and_from_four_on, at_most=-1.0, every=3)
    result = count_steps(stop, lambda *call: calls.append(call[0]), callback_every=2)
    assert calls == [2, 3, 4, 6]
    checks = np.flatnonzero(np.isfinite(result.history["stop_metric"])) + 1
    np.testing.assert_array_equal(checks, [3, 6])


@pytest.mark.parametrize("kind", [bool, np.bool_, jnp.asarray])
def test_callback_that_returns_true_ends_the_run(kind):
    result = count_steps(callback=lambda steps, *_: kind(steps >= 3), callback_every=1, epochs=2)
    assert (result.steps, result.stopped) == (3, True)
    np.testing.assert_allclose(result.params, 3.0, rtol=1e-5)
    assert len(result.history["forget_loss"]) == 3


@pytest.mark.parametrize("setting", ["every", "times"])
def test_rule_that_never_checks_is_refused(setting):
    with pytest.raises(ValueError, match=rf"{setting}.*got 0"):
        StopRule(at_two_and_from_four_on, at_most=0.5, **{setting: 0})
