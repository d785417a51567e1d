"""x^ of pixels with 256 values, against sums over the values."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gsu_jax.models import TransformerDiffusionConfig
from gsu_jax.models.diffusion import alpha, bound_terms, sigma
from gsu_jax.networks import transformer_diffusion
from gsu_jax.networks._discrete_pixels import BLACK, discrete_mean, on_grid

CONFIG = TransformerDiffusionConfig((4, 4, 1), patch=2, width=8, depth=1, heads=2, bound_times=16)
VALUES = 2 * (np.arange(256) + 0.5) / 256 - 1
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("deviation", [1 / 768, 0.003, 0.008, 0.05])
def test_grid_gives_the_mean_over_the_values(deviation):
    x = RNG.uniform(-0.7, 0.7, 200)
    weights = stats.norm.pdf(VALUES, x[:, None], deviation)
    expected = (weights * VALUES).sum(1) / weights.sum(1)
    np.testing.assert_allclose(on_grid(jnp.float32(x), jnp.float32(deviation)), expected, atol=2e-6)


def test_noise_far_below_a_step_finds_the_value_again():
    x = jnp.float32(VALUES[1:]).reshape(-1, 1, 1, 1)
    gamma = jnp.full(len(x), -13.3)
    noise = RNG.uniform(-2.5, 2.5, x.shape)  # in deviations: 0.4 of a step
    z = alpha(gamma)[:, None, None, None] * x + sigma(gamma)[:, None, None, None] * noise
    zero = jnp.zeros_like(z)
    guess = z / alpha(gamma)[:, None, None, None]
    found = discrete_mean(guess, (zero, zero), jnp.array([1.0, -4.0]), z, gamma, 0.25)
    assert jnp.abs(found - x).max() < 0.25 / 128


def test_black_white_and_other_values_are_weighed_by_their_densities():
    gamma, logits, white = -2.0, (0.7, -0.4), (0.95, 0.1)
    signal, noise = float(alpha(gamma)), float(sigma(gamma) ** 2)
    z, x = RNG.uniform(-1, 1, 50), RNG.uniform(-1, 1, 50)
    odds = np.stack(
        [
            np.exp(logits[0] / (1 + np.exp(-6.0))) * stats.norm.pdf(z, signal * BLACK, noise**0.5),
            np.exp(logits[1] / (1 + np.exp(-6.0)))
            * stats.norm.pdf(z, signal * white[0], (noise + (signal * white[1]) ** 2) ** 0.5),
            np.full(50, stats.norm.pdf(0, 0, (noise + signal**2 * 0.25) ** 0.5)),
        ]
    )
    gain = signal * white[1] ** 2 / (noise + (signal * white[1]) ** 2)
    means = BLACK, white[0] + gain * (z - signal * white[0]), x
    expected = (odds * np.stack(np.broadcast_arrays(*means))).sum(0) / odds.sum(0)

    def pixels(a):
        return jnp.broadcast_to(jnp.float32(a), 50).reshape(50, 1, 1, 1)

    found = discrete_mean(
        pixels(x), tuple(map(pixels, logits)), jnp.array([white[0], np.log(white[1])]), pixels(z),
        jnp.full(50, gamma), 0.25,
    )  # fmt: skip
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


@pytest.mark.long
def test_black_images_cost_an_untrained_discrete_model_almost_no_bits():
    black, nats = jnp.zeros((8, 4, 4, 1)), {}
    for discrete in (False, True):
        config = replace(CONFIG, discrete=discrete)
        model = transformer_diffusion(config)
        params = model.init(jax.random.key(0))
        terms = bound_terms(config, model.denoise, params, black, jax.random.key(1))
        nats[discrete] = float(terms.diffusion.mean())
    assert nats[True] < 0.25 * nats[False]


@pytest.mark.long
def test_every_parameter_of_a_discrete_model_has_a_finite_gradient():
    model = transformer_diffusion(replace(CONFIG, discrete=True, gamma_min=-20.0))
    params = jax.tree.map(lambda p: p + 0.1, model.init(jax.random.key(0)))
    images = jnp.float32(RNG.integers(0, 256, (8, 4, 4, 1)) / 255)
    grads = jax.jit(jax.grad(model.loss))(params, images, jax.random.key(1))
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(grads))
