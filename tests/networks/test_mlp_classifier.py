"""The judge of linear layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.models import MLPClassifierConfig
from gsu_jax.networks import classifier, mlp_classifier

CONFIG = MLPClassifierConfig((4, 4, 1), classes=3, widths=(12, 5))
IMAGES = np.random.default_rng(0).random((6, 4, 4, 1)).astype(np.float32)


def test_logits_and_features_equal_the_formula():
    judge = mlp_classifier(CONFIG)
    params = judge.init(jax.random.key(0))
    x = IMAGES.reshape(6, -1)
    for layer in (params["hidden"][0], params["hidden"][1]):
        x = np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    logits, features = judge.apply(params, IMAGES)
    np.testing.assert_allclose(features, x, atol=1e-5)
    last = params["last"]
    np.testing.assert_allclose(logits, x @ last["kernel"] + last["bias"], atol=1e-5)
    assert judge.features == "MLP-12-5, 5 penultimate features"


def test_bytes_and_floats_are_judged_alike():
    judge = mlp_classifier(CONFIG)
    params = judge.init(jax.random.key(0))
    stored = np.uint8(255 * IMAGES)
    found = judge.apply(params, stored).logits
    expected = judge.apply(params, stored / np.float32(255)).logits
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.long
def test_it_learns_to_tell_bright_from_dark():
    judge = mlp_classifier(MLPClassifierConfig((2, 2, 1), classes=2, widths=(8,)))
    images = jnp.concatenate([jnp.zeros((8, 2, 2, 1)), jnp.ones((8, 2, 2, 1))])
    batch = (images, jnp.repeat(jnp.arange(2), 8))
    params = judge.init(jax.random.key(0))
    first = judge.loss(params, batch, jax.random.key(1))
    for _ in range(50):
        grads = jax.grad(judge.loss)(params, batch, jax.random.key(1))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    assert judge.loss(params, batch, jax.random.key(1)) < first / 2


def test_equal_configs_give_one_classifier():
    assert classifier(MLPClassifierConfig((4, 4, 1), 3, (12, 5))) is mlp_classifier(CONFIG)


def test_images_of_another_shape_are_refused():
    judge = mlp_classifier(CONFIG)
    params = jax.eval_shape(judge.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"images .*4, 4, 1.*\[2, 8, 8, 1\]"):
        jax.eval_shape(judge.apply, params, jnp.zeros((2, 8, 8, 1)))
