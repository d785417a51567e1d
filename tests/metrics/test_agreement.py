"""Models and test data that do not fit each other are named before a figure is wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import JUDGE, JUDGE_PARAMS, MODEL, PARAMS, images

from gsu_jax.metrics import evaluate, make_reference


def run(model, params=PARAMS, **options):
    x = images(60)
    labels = (x.mean((1, 2, 3)) > 0.5).astype(int)
    reference = make_reference(JUDGE, JUDGE_PARAMS, x, labels, labels == 1, feature=1, **options)
    key = jax.random.key(3)
    return evaluate(model, params, JUDGE, JUDGE_PARAMS, reference, key, samples=20)


def drawing(values):
    return dataclasses.replace(MODEL, sample=lambda params, key, n: values(n))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (lambda n: jnp.zeros((n, 9, 9, 1)), r"got \[2, 9, 9, 1\]"),
        (lambda n: {"image": jnp.zeros((n, 2, 2, 1))}, "got a dict"),
    ],
)
def test_samples_of_another_shape_are_refused(values, got):
    with pytest.raises(ValueError, match=f"model.sample.*{got}"):
        run(drawing(values))


def test_examples_that_the_model_cannot_take_are_named():
    """A labeled model without labels to measure it on."""

    def labeled(batch):
        if not isinstance(batch, dict):
            raise TypeError("labels are missing")
        return batch["image"]

    model = dataclasses.replace(
        MODEL, encode=lambda params, batch: MODEL.encode(params, labeled(batch))
    )
    with pytest.raises(ValueError, match=r"labels are missing.*make_reference\(\.\.\., examples="):
        run(model)


def test_samples_in_another_range_are_warned_of_once_for_each_model(caplog):
    image = images(2).shape[1:]
    model = drawing(lambda n: jnp.full((n, *image), -1.0))
    for _ in range(2):
        run(model)
    assert [r.getMessage().count("from -1 to -1") for r in caplog.records] == [1]


def test_uint8_samples_are_judged_as_the_floats_they_stand_for(caplog):
    image = images(2).shape[1:]
    level = np.arange(np.prod(image), dtype=np.uint8).reshape(image)
    as_bytes = drawing(lambda n: jnp.broadcast_to(level, (n, *image)))
    as_floats = drawing(lambda n: jnp.broadcast_to(level / np.float32(255), (n, *image)))
    assert run(as_bytes) == pytest.approx(run(as_floats), rel=1e-6)
    assert not caplog.records


def test_a_judge_that_returns_one_array_is_named():
    judge = dataclasses.replace(JUDGE, apply=lambda params, x: x.mean((1, 2)))
    x = images(60)
    labels = np.zeros(60, int)
    with pytest.raises(TypeError, match=r"judge\.apply.*Prediction\(logits, features\)"):
        make_reference(judge, JUDGE_PARAMS, x, labels, labels == 1, feature=1)


def test_a_seed_in_place_of_a_key_is_named():
    x = images(60)
    labels = (x.mean((1, 2, 3)) > 0.5).astype(int)
    reference = make_reference(JUDGE, JUDGE_PARAMS, x, labels, labels == 1, feature=1)
    with pytest.raises(TypeError, match=r"key must be a JAX random key, got 1; give jax\.random"):
        evaluate(MODEL, PARAMS, JUDGE, JUDGE_PARAMS, reference, 1, samples=20)
