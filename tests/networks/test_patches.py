"""Convolutions as matrix products, against `jax.lax`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from gsu_jax.networks._convolution import convolve
from gsu_jax.networks._patches import Double, Halve, double, halve, keep

RNG = np.random.default_rng(0)
NHWC = ("NHWC", "HWIO", "NHWC")


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def lax_halve(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NHWC)


def lax_keep(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)


def strided(stride):
    """`convolve` and its oracle, both with the channels first."""

    def oracle(x, kernel):
        numbers = ("CHWN", "HWIO", "CHWN")
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=numbers
        )

    return lambda x, kernel: convolve(x, kernel, stride), oracle


def lax_double(x, kernel):
    return lax.conv_transpose(
        x, kernel, (2, 2), "SAME", dimension_numbers=NHWC, transpose_kernel=True
    )


LAYERS = [
    pytest.param(halve, lax_halve, (2, 6, 10, 3), (4, 4, 3, 5), id="halve"),
    pytest.param(double, lax_double, (2, 3, 5, 5), (4, 4, 3, 5), id="double"),
    pytest.param(keep, lax_keep, (2, 6, 5, 3), (3, 3, 3, 4), id="keep"),
    pytest.param(keep, lax_keep, (2, 2, 1, 3), (5, 5, 3, 4), id="keep 5x5"),
    pytest.param(*strided(1), (3, 6, 5, 2), (3, 3, 3, 4), id="convolve"),
    pytest.param(*strided(2), (3, 6, 5, 2), (3, 3, 3, 4), id="convolve, stride 2"),
    pytest.param(*strided(1), (3, 6, 5, 2), (1, 1, 3, 4), id="convolve 1x1"),
]


@pytest.mark.parametrize(("layer", "oracle", "x_shape", "kernel_shape"), LAYERS)
def test_layer_and_gradients_equal_lax(layer, oracle, x_shape, kernel_shape):
    x, kernel = normal(*x_shape), normal(*kernel_shape)
    cotangent = normal(*jax.eval_shape(oracle, x, kernel).shape)

    @jax.jit
    def value_and_pulled_back(x, kernel):
        return [
            (y, *pull(cotangent)) for y, pull in (jax.vjp(f, x, kernel) for f in (layer, oracle))
        ]

    for found, expected in zip(*value_and_pulled_back(x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_double_is_adjoint_of_halve():
    x, y, kernel = normal(2, 8, 4, 3), normal(2, 4, 2, 5), normal(4, 4, 3, 5)
    halved, doubled = jax.jit(halve)(x, kernel), jax.jit(double)(y, kernel)
    np.testing.assert_allclose(np.vdot(halved, y), np.vdot(x, doubled), rtol=1e-4)


@pytest.mark.parametrize(("layer", "oracle", "x_shape", "kernel_shape"), LAYERS[:2] + LAYERS[5:6])
def test_layer_under_vmap_over_kernels(layer, oracle, x_shape, kernel_shape):
    x, kernels = normal(*x_shape), normal(2, *kernel_shape)
    mapped = jax.jit(jax.vmap(layer, (None, 0)))(x, kernels)
    expected = jax.jit(lambda x, kernels: [oracle(x, kernel) for kernel in kernels])(x, kernels)
    np.testing.assert_allclose(mapped, expected, atol=1e-4)


@pytest.mark.parametrize(("layer", "oracle", "x_shape", "kernel_shape"), LAYERS[:2])
def test_second_derivatives_equal_lax(layer, oracle, x_shape, kernel_shape):
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


def test_initial_layers_preserve_scale():
    rngs = nnx.Rngs(0)
    x = normal(8, 8, 8, 32)
    for layer in (Halve(32, 32, "float32", rngs), Double(32, 32, "float32", rngs)):
        # The kernel doubles the mean square that a ReLU halves.
        out = jax.jit(layer)(np.maximum(x, 0))
        inner = out[:, 1:-1, 1:-1]
        assert 0.8 < np.mean(inner**2) < 1.25
