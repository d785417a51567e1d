"""A sweep is many runs of `unlearn` under one program."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import count_compilations
from helpers import assert_trees_close
from linear_autoencoder import MODEL, images

from gsu_jax import GradientSurgery, unlearn
from gsu_jax.unlearning import sweep

FORGET, RETAIN = images(1, 10, offset=0.5), images(2, 17)
KEYS = jax.vmap(jax.random.key)(jnp.arange(2))
PARAMS = jax.vmap(MODEL.init)(KEYS)
METHOD = GradientSurgery(batch_size=4, retain_batch_size=5)
SETTINGS = {"learning_rate": (1e-2, 1e-2, 3e-3), "retain_weight": (0.0, 2.0, 2.0)}


def run(model=MODEL, params=PARAMS, forget=FORGET, retain=RETAIN, **changes):
    options = {"method": METHOD, "settings": SETTINGS, "keys": KEYS, "epochs": 2}
    return sweep(model, params, forget, retain, **options | changes)


def alone(setting, seed, model=MODEL, params=PARAMS, forget=FORGET, retain=RETAIN):
    own = {name: values[setting] for name, values in SETTINGS.items()}
    params = jax.tree.map(lambda leaf: leaf[seed], params)
    method = replace(METHOD, **own)
    return unlearn(model, params, forget, retain, method=method, key=KEYS[seed], epochs=2)


def member(result, setting, seed):
    return jax.tree.map(lambda leaf: leaf[setting, seed], result.params)


@pytest.mark.long
def test_member_is_a_run_of_unlearn():
    together = run()
    assert together.steps == 6
    one = alone(2, 0)
    assert_trees_close(member(together, 2, 0), one.params, rtol=1e-4, atol=1e-5)
    own = {name: rows[2, 0] for name, rows in together.history.items()}
    assert_trees_close(own, one.history, rtol=1e-3, atol=1e-5)
    # The settings and the seeds differ by far more than that.
    kernels = together.params["decoder"]["kernel"].reshape(6, -1)
    assert min(np.abs(a - b).max() for i, a in enumerate(kernels) for b in kernels[:i]) > 1e-2


def test_other_values_compile_nothing():
    first = run()
    other = {"learning_rate": (2e-2, 5e-2, 1e-3), "retain_weight": (0.5, 0.0, 9.0)}
    with count_compilations() as compiled:
        second = run(settings=other)
    assert compiled == []
    assert second.compile_seconds == 0.0
    kernels = (result.params["decoder"]["kernel"] for result in (first, second))
    assert np.abs(np.subtract(*kernels)).max() > 1e-2


def test_diverging_member_leaves_the_others_alone():
    kept = run()
    wild = run(settings=SETTINGS | {"learning_rate": (np.inf, *SETTINGS["learning_rate"][1:])})
    assert not np.isfinite(wild.params["decoder"]["kernel"][0]).any()
    for setting in (1, 2):
        assert_trees_close(member(kept, setting, 1), member(wild, setting, 1))


def test_no_epochs_return_the_parameters():
    result = run(epochs=0)
    assert (result.steps, result.history) == (0, {})
    assert_trees_close(member(result, 2, 1), jax.tree.map(lambda leaf: leaf[1], PARAMS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "settings.*got"),
        ({"learning_rate": ()}, r"settings.*got.*\(0,\)"),
        ({"learning_rate": (1.0,), "retain_weight": (1.0, 2.0)}, r"settings.*\(1,\).*\(2,\)"),
        ({"rate": (1.0,)}, "settings.*gradient_surgery.*'rate'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        run(settings=settings)
