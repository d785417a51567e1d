"""The all-convolutional judge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import special

from gsu_jax.models import AllCNNConfig
from gsu_jax.networks import allcnn

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def judge():
    judge = allcnn(AllCNNConfig(classes=3, widths=(4, 6), dropout=0.5))
    # Not judge.init: to compile the draws of nine layers takes longer than this whole file.
    rng, shapes = np.random.default_rng(0), jax.eval_shape(judge.init, KEY)
    return judge, jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("size", [8, 28])
def test_images_of_any_size(judge, size):
    judge, params = judge
    prediction = jax.eval_shape(judge.apply, params, jnp.zeros((5, size, size, 1)))
    assert prediction.logits.shape == (5, 3)
    assert prediction.features.shape == (5, 6)


@pytest.mark.parametrize(("n", "side"), [(2, 8), (11, 7)])
def test_network_equals_lax(judge, n, side):
    judge, params = judge
    images = np.random.default_rng(0).random((n, side, side, 1)).astype(np.float32)

    @jax.jit
    def by_convolutions(params, x):
        def convolve(x, layer, stride=1):
            return layer["bias"] + lax.conv_general_dilated(
                x, layer["kernel"], (stride, stride), "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip

        for stack in ("first", "second"):
            for number, stride in ((0, 1), (1, 1), (2, 2)):
                x = jax.nn.relu(convolve(x, params[stack][number], stride))
        for number in (0, 1):
            x = jax.nn.relu(convolve(x, params["third"][number]))
        return convolve(x, params["last"]).mean((1, 2)), x.mean((1, 2))

    found, expected = jax.jit(judge.apply)(params, images), by_convolutions(params, images)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_training_has_no_convolution(judge):
    judge, params = judge
    batch = np.zeros((2, 8, 8, 1), np.float32), np.array([0, 1])
    assert "conv_general_dilated" not in str(
        jax.make_jaxpr(jax.grad(judge.loss))(params, batch, KEY)
    )


def test_features_are_named(judge):
    assert judge[0].features == "AllCNN-4-6, 6 penultimate features"


def test_dropout_follows_key_in_training(judge):
    judge, params = judge
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    train = jax.jit(judge.train_apply)
    first, again, other = (train(params, images, jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_without_dropout_training_equals_judging(judge):
    params = judge[1]
    plain = allcnn(AllCNNConfig(classes=3, widths=(4, 6)))
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    logits = jax.jit(plain.apply)(params, images).logits
    np.testing.assert_allclose(jax.jit(plain.train_apply)(params, images, KEY), logits, rtol=1e-6)


def test_loss_is_cross_entropy(judge):
    judge, params = allcnn(AllCNNConfig(classes=3, widths=(4, 6))), judge[1]
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    labels = np.array([2, 0])
    logits = np.asarray(jax.jit(judge.apply)(params, images).logits, np.float64)
    expected = -special.log_softmax(logits, -1)[[0, 1], labels].mean()
    found = jax.jit(judge.loss)(params, (images, labels), KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
