"""SISS, ReTrack, EraseDiff, SalUn and selective amnesia on a denoiser with closed forms.

The denoiser is that of N(b, V I): x^ = b + g (z - alpha b), g = alpha V / (alpha^2 V + sigma^2).
b is trained. At z = alpha x + sigma epsilon it is off by

    x - x^ = rest (x - b) - g sigma epsilon,    rest = 1 - g alpha = sigma^2 / (alpha^2 V + sigma^2)
"""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import cosine
from method_steps import KEY, batch_of
from scipy import integrate, special, stats

from gsu_jax import METHODS
from gsu_jax.data import ImageSet
from gsu_jax.methods import SISS, EraseDiff, ReTrack, SalUn, SelectiveAmnesia
from gsu_jax.methods.ingredients import MaskedBatch, latent_view, level_key
from gsu_jax.models import DiffusionConfig
from gsu_jax.models.diffusion import diffusion

V = 0.05


def denoise(params, z, gamma):
    shares = SimpleNamespace(**{k: v[:, None] for k, v in parts(gamma, jax.nn.sigmoid).items()})
    flat = z.reshape(len(z), -1)
    x = params["mean"] + shares.gain * (flat - shares.alpha * params["mean"])
    return x.reshape(z.shape)


def parts(gamma, sigmoid=special.expit):
    """Alpha, sigma, g and rest at noise levels."""
    alpha, sigma = sigmoid(-gamma) ** 0.5, sigmoid(gamma) ** 0.5
    total = alpha**2 * V + sigma**2
    return {"alpha": alpha, "sigma": sigma, "gain": alpha * V / total, "rest": sigma**2 / total}


MODEL = diffusion(
    DiffusionConfig((2, 2, 1), sampler_steps=3, bound_times=2),
    lambda key: {"mean": jnp.zeros(4)},
    denoise,
)
MEAN = np.array([0.1, -0.1, 0.2, 0.0])
PARAMS = {"network": {"mean": jnp.float32(MEAN)}}
RNG = np.random.default_rng(0)
FORGET = RNG.uniform(0.4, 0.6, (5, 2, 2, 1)).astype(np.float32)
RETAIN = RNG.uniform(0.3, 0.7, (9, 2, 2, 1)).astype(np.float32)
ONE, MANY = RETAIN[:1], np.tile(FORGET, (4000, 1, 1, 1))


def data(images):
    """`[n, 4]` in [-1, 1]."""
    return (510 * np.float64(images).reshape(len(images), 4) + 1) / 256 - 1


def over_levels(function):
    """The mean of a function of `parts` over the levels of the cosine schedule."""

    def weighed(gamma):
        values = SimpleNamespace(**parts(np.clip(gamma, -8, 8)))
        return function(values) / np.cosh(gamma / 2) / 2 / np.pi

    return integrate.quad(weighed, -60, 60, limit=200)[0]


def levels(key, n):
    """The noise levels of a step, and their parts as columns."""
    gamma = np.float64(latent_view(MODEL, jnp.zeros((n, 2, 2, 1)), level_key(key)).gamma)
    return SimpleNamespace(**{name: x[:, None] for name, x in parts(gamma).items()})


def step(method, prepared, forget=FORGET, retain=RETAIN, mask=None):
    run = jax.jit(method.gradients, static_argnums=0)
    return run(MODEL, prepared, PARAMS, batch_of(forget, retain, mask), KEY)


def mean_of(tree):
    return np.float64(tree["network"]["mean"])


# Noise levels and the loss


def test_levels_are_those_of_the_cosine_schedule():
    gamma = np.sort(latent_view(MODEL, jnp.zeros((4096, 2, 2, 1)), KEY).gamma)
    expected = 2 / np.pi * np.arctan(np.exp(gamma / 2))
    inside = np.abs(gamma) < 8
    assert 0.97 < inside.mean() < 0.98
    np.testing.assert_allclose(expected[inside], (np.arange(4096) / 4096)[inside], atol=5e-4)


def test_mean_loss_is_the_bound_with_the_weight_sech():
    x, noise = np.tile(FORGET, (800, 1, 1, 1)), jax.random.normal(KEY, (4000, 4))
    view, gamma = latent_view(MODEL, x, KEY)
    mean, log_variance = view.encode(PARAMS, x)
    decoded = view.decode(PARAMS, mean + jnp.exp(log_variance / 2) * noise)
    found = -np.float64(view.log_likelihood(decoded, jnp.asarray(x))).mean()

    def errors(gamma):
        """The mean of |epsilon - epsilon^|^2."""
        p = SimpleNamespace(**parts(gamma))
        squares = p.rest**2 * np.square(data(FORGET) - MEAN).sum(1).mean()
        return np.exp(-gamma) * (squares + 4 * p.gain**2 * p.sigma**2)

    bound = integrate.quad(lambda gamma: 0.5 * errors(gamma) / np.cosh(gamma / 2), -8, 8)[0]
    beyond = 2 / np.pi * np.arctan(np.exp(-4.0))  # the share at each end
    expected = bound + np.pi * beyond * (errors(-8.0) + errors(8.0))
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert gamma.shape == (4000,)


# SISS


def test_siss_weighs_with_the_gaussian_densities_of_both_noisy_images():
    method = SISS(mixture=0.3)
    found = step(method, PARAMS, retain=ONE).metrics
    choice_key, z_key = jax.random.split(KEY, 3)[1:]
    p, n = levels(KEY, 5), 5
    chosen = np.asarray(jax.random.bernoulli(choice_key, 0.3, (n, 1)))
    a, x = data(FORGET), data(np.tile(ONE, (n, 1, 1, 1)))
    z = p.alpha * np.where(chosen, a, x) + p.sigma * np.asarray(jax.random.normal(z_key, (n, 4)))
    densities = [stats.norm.pdf(z, p.alpha * image, p.sigma).prod(1) for image in (a, x)]
    mixed = 0.3 * densities[0] + 0.7 * densities[1]
    estimate = MEAN + p.gain * (z - p.alpha * MEAN)
    for name, image, density in zip(("forget", "retain"), (a, x), densities, strict=True):
        noise, predicted = ((z - p.alpha * y) / p.sigma for y in (image, estimate))
        errors = np.pi * np.square(noise - predicted).sum(1)
        expected = (density / mixed * errors).mean()
        np.testing.assert_allclose(found[f"{name}_loss"], expected, rtol=2e-3)


@pytest.mark.parametrize("mixture", [0.2, 0.5])
def test_siss_has_the_losses_and_gradients_of_two_samples_in_expectation(mixture):
    method = SISS(mixture=mixture, forget_share=1.0)
    found = step(method, PARAMS, forget=MANY, retain=ONE)
    scale = over_levels(lambda p: (p.alpha * p.sigma / (p.alpha**2 * V + p.sigma**2)) ** 2)
    noise = over_levels(lambda p: p.gain**2 * p.alpha**2)
    for name, images in (("forget", FORGET), ("retain", ONE)):
        squares = np.square(data(images) - MEAN).sum(1).mean()
        expected = np.pi * (scale * squares + 4 * noise)
        np.testing.assert_allclose(found.metrics[f"{name}_loss"], expected, rtol=0.03)
    retain, size = -2 * np.pi * scale * (data(ONE)[0] - MEAN), 2 * np.pi * scale
    np.testing.assert_allclose(mean_of(found.retain_grads), retain, atol=0.02 * size)
    subtracted = mean_of(found.retain_grads) - mean_of(found.updates)
    assert cosine(subtracted, MEAN - data(FORGET).mean(0)) > 0.99


# ReTrack


@pytest.mark.parametrize("k", [1, 4])
def test_retrack_teaches_noisy_forgotten_images_the_nearest_retained_ones(k):
    method = ReTrack(denoising_share=1.0, neighbors=k)
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    found = step(method, method.prepare(MODEL, PARAMS, *sets, KEY))
    p = levels(KEY, 5)
    z = p.alpha * data(FORGET) + p.sigma * np.asarray(
        jax.random.normal(jax.random.split(KEY)[0], (5, 4))
    )
    estimate, expected, largest = MEAN + p.gain * (z - p.alpha * MEAN), np.zeros(4), []
    for i in range(5):
        near = np.argsort(np.square(data(RETAIN) - data(FORGET)[i]).sum(1))[:k]
        logs = stats.norm.logpdf(z[i], p.alpha[i] * data(RETAIN)[near], p.sigma[i]).sum(1)
        weights = np.exp(logs - special.logsumexp(logs))
        target = weights @ data(RETAIN)[near]
        slope = p.alpha[i] ** 2 / p.sigma[i] ** 2 * p.rest[i]
        expected -= 2 * np.pi * slope * (target - estimate[i]) / 5
        largest.append(weights.max())
    assert k == 1 or min(largest) < 0.6  # more than one neighbor counts
    np.testing.assert_allclose(mean_of(found.updates), expected, rtol=5e-3, atol=1e-3)


def test_share_of_a_diffusion_model_is_the_published_one():
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    forget, both, given = (
        step(method, method.prepare(MODEL, PARAMS, *sets, KEY))
        for method in (ReTrack(denoising_share=1.0), ReTrack(), ReTrack(forget_share=0.9))
    )
    expected = 0.005 * mean_of(forget.updates) + 0.995 * mean_of(both.retain_grads)
    np.testing.assert_allclose(mean_of(both.updates), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(mean_of(given.updates), mean_of(both.updates))


# EraseDiff, SalUn, selective amnesia


def test_erasediff_teaches_the_prediction_of_uniform_noise():
    found = mean_of(step(EraseDiff(), PARAMS, forget=MANY).updates)

    def slope(p):
        return p.alpha * p.sigma / (p.alpha**2 * V + p.sigma**2)

    away = data(FORGET).mean(0) - MEAN
    expected = 2 * np.pi * (0.5 * over_levels(slope) - over_levels(lambda p: slope(p) ** 2) * away)
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_salun_teaches_noisy_forgotten_images_what_the_trained_model_draws_at_noisy_retained_ones():
    method, teacher = SalUn(retain_weight=0.0), {"network": {"mean": jnp.float32(MEAN + 0.05)}}
    prepared = method.prepare(MODEL, teacher, *map(ImageSet.of, (FORGET, RETAIN)), KEY)
    found = mean_of(step(method, prepared, retain=ONE).updates)
    p = levels(jax.random.split(KEY)[0], 5)  # the key of the forget loss
    # Both share their noise, which cancels.
    away = p.rest * 0.05 + p.gain * p.alpha * (data(ONE) - data(FORGET))
    expected = (-2 * np.pi * p.alpha**2 / p.sigma**2 * p.rest * away).mean(0)
    # The target is rounded to 256 values by no one, and clipped nowhere here.
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def amnesia(**settings):
    """A method with a guide that takes nothing for forgotten, and what it prepares."""
    method = SelectiveAmnesia(guide=lambda x: jnp.zeros(len(x)), fisher_samples=7, **settings)
    sets = map(ImageSet.of, (FORGET, RETAIN))
    return method, jax.jit(lambda: method.prepare(MODEL, PARAMS, *sets, KEY))()


def test_selective_amnesia_teaches_noisy_forgotten_images_uniform_images():
    method, prepared = amnesia(replay_weight=0.0, fisher_weight=0.0)
    found = mean_of(step(method, prepared, forget=MANY).updates)
    plain = over_levels(lambda p: p.alpha**2 / (p.alpha**2 * V + p.sigma**2))
    pulled = over_levels(lambda p: p.alpha**2 / (p.alpha**2 * V + p.sigma**2) * p.gain * p.alpha)
    expected = 2 * np.pi * (plain * MEAN + pulled * (data(FORGET).mean(0) - MEAN))
    np.testing.assert_allclose(found, expected, atol=0.03 * 2 * np.pi * plain)


@pytest.mark.long
def test_selective_amnesia_samples_once_and_replays_these_samples():
    method, prepared = amnesia()
    drawn = MODEL.sample(PARAMS, jax.random.split(KEY, 3)[1], 7)
    np.testing.assert_allclose(prepared.replay, drawn, atol=1e-6)
    silent, batch = replace(MODEL, sample=None), batch_of(FORGET, RETAIN)
    found = method.gradients(silent, prepared, PARAMS, batch, KEY).metrics["retain_loss"]
    same = prepared._replace(replay=jnp.tile(prepared.replay[:1], (7, 1, 1, 1)))
    assert found != method.gradients(silent, same, PARAMS, batch, KEY).metrics["retain_loss"]


def test_fisher_of_a_diffusion_model_is_that_of_its_bound():
    model = replace(MODEL, elbo=lambda params, x, key: jnp.full(len(x), 3 * params["mean"].sum()))
    model = replace(model, sample=lambda params, key, n: jnp.zeros((n, 2, 2, 1)))
    method = SelectiveAmnesia(guide=lambda x: jnp.zeros(len(x)), fisher_samples=4)
    sets = map(ImageSet.of, (FORGET, RETAIN))
    fisher = method.prepare(model, {"mean": jnp.zeros(4)}, *sets, KEY).fisher
    np.testing.assert_allclose(fisher["mean"], 9.0)


# All


@pytest.mark.parametrize("name", ["siss", "retrack", "erasediff", "salun", "selective_amnesia"])
def test_a_masked_image_does_not_count(name):
    method = METHODS[name]() if name != "selective_amnesia" else amnesia()[0]
    sets = map(ImageSet.of, (FORGET, RETAIN))
    prepared = method.prepare(MODEL, PARAMS, *sets, KEY)
    batch = batch_of(FORGET, ONE, np.float32([1, 1, 1, 1, 0]))
    other = np.concatenate([FORGET[:4], 1 - FORGET[4:]])
    moved = batch._replace(visited=MaskedBatch(jnp.asarray(other), batch.visited.mask))
    run = jax.jit(method.gradients, static_argnums=0)
    one, two = (mean_of(run(MODEL, prepared, PARAMS, b, KEY).updates) for b in (batch, moved))
    np.testing.assert_allclose(one, two, rtol=1e-5)
