"""The convolutional VAE."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import special, stats

from gsu_jax.models import ConvVAEConfig
from gsu_jax.networks import conv_vae, generator

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
CONFIG = ConvVAEConfig((8, 16, 3), (4, 6), 5, variance=0.05)
IMAGES = RNG.random((4, 8, 16, 3)).astype(np.float32)
ENCODE, DECODE = jax.jit(conv_vae(CONFIG).encode), jax.jit(conv_vae(CONFIG).decode)
NHWC = ("NHWC", "HWIO", "NHWC")


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def random_params(model, deviation=0.1):
    shapes = jax.eval_shape(model.init, KEY)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(0, deviation, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def params():
    return random_params(conv_vae(CONFIG))


def lax_halve(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NHWC)


def lax_double(x, kernel):
    return lax.conv_transpose(
        x, kernel, (2, 2), "SAME", dimension_numbers=NHWC, transpose_kernel=True
    )


def test_encoder_and_decoder_equal_lax(params):
    @jax.jit
    def by_convolutions(params, images):
        encoder, decoder = params["encoder"], params["decoder"]
        x = images
        for _, layer in sorted(encoder["layers"].items()):
            x = jax.nn.relu(lax_halve(x, layer["kernel"]) + layer["bias"])
        mean, log_variance = jnp.split(linear(encoder["last"], x.reshape(4, -1)), 2, axis=-1)
        x = linear(decoder["first"], mean).reshape(4, 2, 4, 6)
        for _, layer in sorted(decoder["layers"].items()):
            x = lax_double(jax.nn.relu(x), layer["kernel"]) + layer["bias"]
        return mean, log_variance, jax.nn.sigmoid(x)

    def linear(layer, x):
        return x @ layer["kernel"] + layer["bias"]

    mean, log_variance = ENCODE(params, IMAGES)
    found = mean, log_variance, DECODE(params, mean)
    for ours, theirs in zip(found, by_convolutions(params, IMAGES), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_gaussian_decodes_means(params):
    model = conv_vae(CONFIG)
    decoded = DECODE(params, 30 * normal(4, 5))
    assert decoded.shape == IMAGES.shape
    assert 0 <= decoded.min() < decoded.max() <= 1
    np.testing.assert_array_equal(model.mean(decoded), decoded)
    expected = stats.norm(np.asarray(decoded, np.float64), np.sqrt(0.05)).logpdf(IMAGES)
    found = model.log_likelihood(decoded, IMAGES)
    np.testing.assert_allclose(found, expected.reshape(4, -1).sum(-1), rtol=1e-5)


def test_bernoulli_decodes_logits(params):
    bernoulli = conv_vae(ConvVAEConfig((8, 16, 3), (4, 6), 5, likelihood="bernoulli"))
    z = normal(4, 5)
    logits = jax.jit(bernoulli.decode)(params, z)
    np.testing.assert_allclose(bernoulli.mean(logits), DECODE(params, z), atol=1e-6)
    share = special.expit(np.asarray(logits, np.float64))
    expected = IMAGES * np.log(share) + (1 - IMAGES) * np.log1p(-share)
    found = bernoulli.log_likelihood(logits, IMAGES)
    np.testing.assert_allclose(found, expected.reshape(4, -1).sum(-1), rtol=1e-5)


def test_uint8_images_are_scaled(params):
    whole = (IMAGES * 255).astype(np.uint8)
    found, expected = ENCODE(params, whole)[0], ENCODE(params, whole / np.float32(255))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_samples_follow_key(params):
    sample = jax.jit(conv_vae(CONFIG).sample, static_argnums=2)
    first, again, other = (sample(params, jax.random.key(k), 3) for k in (3, 3, 4))
    assert first.shape == (3, 8, 16, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_bfloat16_computes_near_float32(params):
    half = conv_vae(replace(CONFIG, dtype="bfloat16"))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(half.init, KEY))}
    assert dtypes == {jnp.dtype(jnp.float32)}
    mean, _ = jax.jit(half.encode)(params, IMAGES)
    exact, _ = ENCODE(params, IMAGES)
    assert mean.dtype == jnp.float32
    assert np.abs(mean - exact).max() > 0  # the computation is another one
    np.testing.assert_allclose(mean, exact, atol=0.02)
    loss, grads = jax.eval_shape(jax.value_and_grad(half.loss), params, IMAGES, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, grads))} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("size", [16, 32, 64])
def test_shapes(size):
    widths = (8,) * (size.bit_length() - 3)
    model = conv_vae(ConvVAEConfig((size, size, 3), widths, 7))
    params = jax.eval_shape(model.init, KEY)
    mean, log_variance = jax.eval_shape(model.encode, params, jnp.zeros((2, size, size, 3)))
    assert mean.shape == log_variance.shape == (2, 7)
    assert jax.eval_shape(model.decode, params, mean).shape == (2, size, size, 3)


def test_training_has_no_convolution(params):
    model = conv_vae(CONFIG)
    jaxpr = str(jax.make_jaxpr(jax.grad(model.loss))(params, IMAGES, KEY))
    assert "dot_general" in jaxpr
    assert "conv_general_dilated" not in jaxpr


def test_default_config_is_one_model():
    assert conv_vae() is conv_vae(ConvVAEConfig()) is conv_vae(config=ConvVAEConfig())


def test_one_config_is_one_model():
    same = ConvVAEConfig((8, 16, 3), (4, 6), 5, variance=0.05)
    assert generator(same) is conv_vae(CONFIG)


def test_sides_must_be_multiples():
    with pytest.raises(ValueError, match=r"image_shape.*multiples of 16.*got \(28, 28, 1\)"):
        ConvVAEConfig(image_shape=(28, 28, 1))
