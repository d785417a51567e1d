"""A sweep is many runs of `unlearn` under one program."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import count_compilations
from linear_autoencoder import MODEL, images

from gsu_jax import GenerativeModel, GradientSurgery, unlearn
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


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_every_member_is_a_run_of_unlearn_with_its_own_setting_and_seed():
    together = run()
    assert together.steps == 6
    for setting, seed in ((0, 1), (2, 0)):
        one = alone(setting, seed)
        assert_close(member(together, setting, seed), one.params, rtol=1e-4, atol=1e-5)
        own = {name: rows[setting, seed] for name, rows in together.history.items()}
        assert_close(own, one.history, rtol=1e-3, atol=1e-5)
    # The settings and the seeds differ by far more than that.
    kernels = together.params["decoder"]["kernel"].reshape(6, -1)
    assert min(np.abs(a - b).max() for i, a in enumerate(kernels) for b in kernels[:i]) > 1e-2


def test_other_values_of_as_many_settings_compile_nothing():
    first = run()
    other = {"learning_rate": (2e-2, 5e-2, 1e-3), "retain_weight": (0.5, 0.0, 9.0)}
    with count_compilations() as compiled:
        second = run(settings=other)
    assert compiled == []
    assert second.compile_seconds == 0.0
    kernels = (result.params["decoder"]["kernel"] for result in (first, second))
    assert np.abs(np.subtract(*kernels)).max() > 1e-2


def test_a_member_that_diverges_leaves_the_others_as_they_are():
    kept = run()
    wild = run(settings=SETTINGS | {"learning_rate": (np.inf, *SETTINGS["learning_rate"][1:])})
    assert not np.isfinite(wild.params["decoder"]["kernel"][0]).any()
    for setting in (1, 2):
        assert_close(member(kept, setting, 1), member(wild, setting, 1))


def test_a_model_that_convolves_runs_its_members_one_by_one_with_the_same_result():
    def loss(kernel, images, key):
        return jnp.square(jax.lax.conv(images, kernel, (1, 1), "SAME") - images).sum() / len(images)

    model = GenerativeModel(lambda key: jax.random.normal(key, (1, 2, 3, 3)), loss, None)
    data = {"model": model, "params": jax.vmap(model.init)(KEYS)}
    together = run(**data)
    assert_close(member(together, 2, 1), alone(2, 1, **data).params, rtol=1e-3, atol=1e-4)


def test_no_epochs_change_nothing():
    result = run(epochs=0)
    assert (result.steps, result.history) == (0, {})
    assert_close(member(result, 2, 1), jax.tree.map(lambda leaf: leaf[1], PARAMS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "settings must have as many values for each name, at least one, found shapes {}"),
        ({"learning_rate": ()}, "at least one"),
        ({"learning_rate": (1.0,), "retain_weight": (1.0, 2.0)}, "as many values"),
        ({"rate": (1.0,)}, "gradient_surgery has no setting 'rate'"),
    ],
)
def test_settings_that_cannot_be_swept_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        run(settings=settings)
