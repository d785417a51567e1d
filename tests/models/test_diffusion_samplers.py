"""The samplers of diffusion models against closed flows, laws and likelihoods."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_diffusion import Mixture, gaussian_denoiser, shares

from gsu_jax.models import DiffusionConfig, diffusion

KEY = jax.random.key(0)
MIXTURE = Mixture([0.6, 0.3, 0.1], [[-0.6, 0.4], [0.5, 0.5], [0.1, -0.7]], 0.01)
LOW, HIGH = -8.0, 9.0
N = 20_000


def sampled(sampler, steps, key=KEY, n=N):
    start_key, key = jax.random.split(key)
    z = jax.random.normal(start_key, (n, 2))
    gammas = diffusion.noise_levels(HIGH, LOW, steps)
    if sampler == "ancestral":
        return diffusion.ancestral(MIXTURE.denoise, z, gammas, key)
    return getattr(diffusion, sampler)(MIXTURE.denoise, z, gammas)


@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 200), ("ddim", 200), ("heun", 40)])
def test_sampler_draws_the_mixture(sampler, steps):
    drawn = np.asarray(sampled(sampler, steps))
    expected = np.asarray(MIXTURE.draw(jax.random.key(1), N))
    part = np.asarray(MIXTURE.log_parts(jnp.asarray(drawn), jnp.full(N, LOW))).argmax(1)
    np.testing.assert_allclose(np.bincount(part) / N, MIXTURE.weights, atol=0.012)
    np.testing.assert_allclose(drawn.mean(0), expected.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(expected.T), atol=0.012)
    spread = [drawn[part == k].std(0) for k in range(3)]
    np.testing.assert_allclose(spread, 0.1, atol=0.01)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("heun", 2)])
def test_flow_converges_at_the_order_of_its_sampler(sampler, order):
    """The flow of a Gaussian is a scale, sqrt(v_0 / v_1), v = alpha^2 s^2 + sigma^2."""
    variance, z = 0.04, jnp.array([[1.0, -2.0]])

    def total(gamma):
        alpha, sigma = shares(gamma)
        return alpha**2 * variance + sigma**2

    exact = np.asarray(z) * np.sqrt(total(LOW) / total(HIGH))

    def error(steps):
        gammas = diffusion.noise_levels(HIGH, LOW, steps)
        found = getattr(diffusion, sampler)(gaussian_denoiser(0.0, variance), z, gammas)
        return np.abs(np.asarray(found) - exact).max()

    assert 2 ** (order - 0.3) < error(32) / error(64) < 2 ** (order + 0.3)


@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_flow_encodes_what_it_decodes(sampler):
    flow = getattr(diffusion, sampler)
    z = jax.random.normal(KEY, (5, 2))
    gammas = diffusion.noise_levels(3.0, -3.0, 400)
    there = flow(MIXTURE.denoise, z, gammas)
    back = flow(MIXTURE.denoise, there, gammas[::-1])
    np.testing.assert_allclose(back, z, atol=0.05)


def test_ancestral_chain_of_a_gaussian_has_its_closed_variance():
    """Each step maps the variance by an affine function, whatever the number of steps."""
    variance, steps = 0.04, 6
    gammas = np.linspace(HIGH, LOW, steps + 1)
    total = 1.0
    for high, low in pairwise(gammas):
        (a, s), (b, r) = shares(high), shares(low)
        gain = a * variance / (a**2 * variance + s**2)
        kept = a * r**2 / (b * s**2)
        fresh = s**2 - (a / b) ** 2 * r**2
        total = (kept + b * fresh / s**2 * gain) ** 2 * total + fresh * r**2 / s**2
    z = jax.random.normal(KEY, (N, 4))
    denoise = gaussian_denoiser(0.0, variance)
    drawn = diffusion.ancestral(denoise, z, jnp.asarray(gammas, jnp.float32), jax.random.key(1))
    np.testing.assert_allclose(np.asarray(drawn).var(), total, rtol=0.02)


@pytest.mark.long
def test_bound_is_the_likelihood_of_the_sampler():
    """Heun's sampler is a map of N(0, I): its density has a closed Jacobian.

    It equals the law of z_0. The bound, with the exact score, has in the mean over z_0's images no
    gap to it but the information that z_0 keeps of x: E KL(q(z_0 | x) || p(z_0)).
    """
    gammas = diffusion.noise_levels(HIGH, LOW, 60)

    def flow(z):
        return diffusion.heun(MIXTURE.denoise, z[None], gammas)[0]

    start = jax.random.normal(KEY, (300, 2))
    end, jacobian = jax.jit(jax.vmap(lambda z: (flow(z), jax.jacfwd(flow)(z))))(start)
    normal = -0.5 * (start**2).sum(-1) - jnp.log(2 * jnp.pi)
    of_sampler = normal - jnp.linalg.slogdet(jacobian)[1]
    law = MIXTURE.log_density(end, jnp.full(300, LOW))
    np.testing.assert_allclose(of_sampler, law, atol=0.15)
    assert abs(np.mean(of_sampler - law)) < 0.03

    x = MIXTURE.draw(jax.random.key(1), 100_000)
    time_key, noise_key, key = jax.random.split(jax.random.key(2), 3)
    levels = LOW + (HIGH - LOW) * diffusion.low_discrepancy_times(time_key, len(x))
    noise = jax.random.normal(noise_key, x.shape)
    terms = diffusion.diffusion_term(MIXTURE.denoise, x, levels, HIGH - LOW, noise)
    bound = terms.mean() + diffusion.prior_term(x, jnp.float32(HIGH)).mean()
    z = diffusion.add_noise(x, jnp.full(len(x), LOW), jax.random.normal(key, x.shape))
    entropy_of_noise = np.log(2 * np.pi * np.e * shares(LOW)[1] ** 2)
    information = -MIXTURE.log_density(z, jnp.full(len(x), LOW)).mean() - entropy_of_noise
    assert abs(bound - information) < 0.05


def test_model_samples_with_each_sampler():
    means = {}
    for sampler in ("ancestral", "ddim", "heun"):
        config = DiffusionConfig((1, 2, 1), sampler=sampler, sampler_steps=60)
        model = diffusion.diffusion(
            config,
            lambda key: {},
            lambda params, z, gamma: MIXTURE.denoise(z.reshape(-1, 2), gamma).reshape(z.shape),
        )
        drawn = jax.jit(model.sample, static_argnums=2)(model.init(KEY), KEY, 4000)
        assert drawn.shape == (4000, 1, 2, 1)
        assert 0 <= drawn.min() <= drawn.max() <= 1
        means[sampler] = np.asarray(drawn).mean(0).ravel()
    expected = (np.asarray(MIXTURE.weights @ MIXTURE.means) + 1) / 2
    for found in means.values():
        np.testing.assert_allclose(found, expected, atol=0.03)


@pytest.mark.parametrize("steps", [0, -3])
def test_steps_below_one_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps.*at least 1, got {steps}"):
        diffusion.noise_levels(9.0, -9.0, steps)
