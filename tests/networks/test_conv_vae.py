"""Convolutions as matrix products, and the VAE made of them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from scipy import special, stats

from gsu_jax.models import ConvVAEConfig
from gsu_jax.networks import conv_vae, generator
from gsu_jax.networks._patches import Double, Halve, convolve, double, halve

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


# The layers


def lax_halve(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NHWC)


def lax_convolve(x, kernel, stride=1):
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=NHWC)


def strided(stride):
    return partial(convolve, stride=stride), partial(lax_convolve, stride=stride)


def lax_double(x, kernel):
    return lax.conv_transpose(
        x, kernel, (2, 2), "SAME", dimension_numbers=NHWC, transpose_kernel=True
    )


LAYERS = [
    pytest.param(halve, lax_halve, (2, 6, 10, 3), (4, 4, 3, 5), id="halve"),
    pytest.param(double, lax_double, (2, 3, 5, 5), (4, 4, 3, 5), id="double"),
    pytest.param(convolve, lax_convolve, (2, 6, 5, 3), (3, 3, 3, 4), id="3x3"),
    pytest.param(*strided(2), (2, 6, 5, 3), (3, 3, 3, 4), id="3x3, stride 2, even and odd sides"),
    pytest.param(convolve, lax_convolve, (2, 2, 1, 3), (5, 5, 3, 4), id="kernel beyond the image"),
    pytest.param(convolve, lax_convolve, (2, 6, 5, 3), (1, 1, 3, 4), id="1x1"),
]


@pytest.mark.parametrize(("layer", "oracle", "x_shape", "kernel_shape"), LAYERS)
def test_layer_and_its_gradients_are_those_of_the_convolution(layer, oracle, x_shape, kernel_shape):
    x, kernel = normal(*x_shape), normal(*kernel_shape)
    cotangent = normal(*jax.eval_shape(oracle, x, kernel).shape)

    @jax.jit
    def value_and_pulled_back(x, kernel):
        return [
            (y, *pull(cotangent)) for y, pull in (jax.vjp(f, x, kernel) for f in (layer, oracle))
        ]

    for found, expected in zip(*value_and_pulled_back(x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_doubling_is_the_adjoint_of_halving():
    x, y, kernel = normal(2, 8, 4, 3), normal(2, 4, 2, 5), normal(4, 4, 3, 5)
    halved, doubled = jax.jit(halve)(x, kernel), jax.jit(double)(y, kernel)
    np.testing.assert_allclose(np.vdot(halved, y), np.vdot(x, doubled), rtol=1e-4)


@pytest.mark.parametrize(("layer", "oracle", "x_shape", "kernel_shape"), LAYERS[:3])
def test_layer_may_be_mapped_over_members(layer, oracle, x_shape, kernel_shape):
    x, kernels = normal(*x_shape), normal(2, *kernel_shape)
    mapped = jax.jit(jax.vmap(layer, (None, 0)))(x, kernels)
    expected = jax.jit(lambda x, kernels: [oracle(x, kernel) for kernel in kernels])(x, kernels)
    np.testing.assert_allclose(mapped, expected, atol=1e-4)


@pytest.mark.parametrize(("layer", "oracle", "x_shape", "kernel_shape"), LAYERS[:2])
def test_second_derivatives_are_those_of_the_convolution(layer, oracle, x_shape, kernel_shape):
    x, kernel, direction = normal(*x_shape), normal(*kernel_shape), normal(*kernel_shape)

    @jax.jit
    def products(kernel):
        found = []
        for f in (layer, oracle):
            slope = jax.grad(lambda k, f=f: jnp.sum(f(x, k) ** 3))
            forward = jax.jvp(slope, (kernel,), (direction,))[1]
            reverse = jax.grad(lambda k, slope=slope: jnp.vdot(slope(k), direction))(kernel)
            found.append((forward, reverse))
        return found

    ours, theirs = products(kernel)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


# The model


def test_encoder_and_decoder_are_the_convolutions(params):
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


def test_gaussian_likelihood_is_that_of_its_mean_in_the_unit_interval(params):
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


def test_beta_weighs_the_kl_alone(params):
    loss = {beta: conv_vae(replace(CONFIG, beta=beta)).loss for beta in (0.0, 1.0, 4.0)}
    none, one, four = jax.jit(lambda *xs: [f(*xs) for f in loss.values()])(params, IMAGES, KEY)
    assert one > none
    np.testing.assert_allclose(four - none, 4 * (one - none), rtol=1e-3)


def test_bytes_are_their_255th_part(params):
    whole = (IMAGES * 255).astype(np.uint8)
    found, expected = ENCODE(params, whole)[0], ENCODE(params, whole / np.float32(255))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_samples_are_images_and_follow_the_key(params):
    sample = jax.jit(conv_vae(CONFIG).sample, static_argnums=2)
    first, again, other = (sample(params, jax.random.key(k), 3) for k in (3, 3, 4))
    assert first.shape == (3, 8, 16, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_bfloat16_compute_keeps_float32_parameters_and_a_loss_near_that_of_float32(params):
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
def test_faces_of_three_sizes_come_back_in_theirs(size):
    widths = (8,) * (size.bit_length() - 3)
    model = conv_vae(ConvVAEConfig((size, size, 3), widths, 7))
    params = jax.eval_shape(model.init, KEY)
    mean, log_variance = jax.eval_shape(model.encode, params, jnp.zeros((2, size, size, 3)))
    assert mean.shape == log_variance.shape == (2, 7)
    assert jax.eval_shape(model.decode, params, mean).shape == (2, size, size, 3)


def test_training_contains_no_convolution_that_a_cpu_would_be_slow_at(params):
    model = conv_vae(CONFIG)
    jaxpr = str(jax.make_jaxpr(jax.grad(model.loss))(params, IMAGES, KEY))
    assert "dot_general" in jaxpr
    assert "conv_general_dilated" not in jaxpr


def test_first_weights_keep_the_scale_of_what_passes_through():
    rngs = nnx.Rngs(0)
    x = normal(8, 8, 8, 32)
    for layer in (Halve(32, 32, "float32", rngs), Double(32, 32, "float32", rngs)):
        # A ReLU halves the mean square, which the kernel makes up for.
        out = jax.jit(layer)(np.maximum(x, 0))
        inner = out[:, 1:-1, 1:-1]
        assert 0.8 < np.mean(inner**2) < 1.25


def test_one_config_is_one_model_and_a_study_finds_it_by_its_type():
    same = ConvVAEConfig((8, 16, 3), (4, 6), 5, variance=0.05)
    assert generator(same) is conv_vae(CONFIG)


def test_images_of_another_shape_are_refused_with_both_shapes(params):
    with pytest.raises(ValueError, match=r"must be \[n, 8, 16, 3\] .*, found \[2, 8, 8, 3\]"):
        conv_vae(CONFIG).encode(params, np.zeros((2, 8, 8, 3), np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (64, 64)}, "image_shape must be .height, width, channels., found"),
        ({"image_shape": (28, 28, 1)}, r"multiples of 16, found \(28, 28, 1\). Give fewer widths"),
        ({"widths": ()}, "widths must hold positive sizes"),
        ({"latent_size": 0}, "latent_size must be at least 1, found 0"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"variance": 0.0}, "variance above 0"),
        ({"likelihood": "poisson"}, "bernoulli or gaussian, not 'poisson'"),
        ({"dtype": "float8"}, "float32 or bfloat16, not 'float8'"),
    ],
)
def test_a_vae_that_cannot_be_built_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvVAEConfig(**settings)
