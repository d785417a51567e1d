"""The bound of diffusion models against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_diffusion import VALUES, Mixture, decoder, gaussian_bound, gaussian_denoiser, shares
from scipy import integrate, optimize, special, stats

from gsu_jax.metrics import negative_elbo
from gsu_jax.models import DiffusionConfig, diffusion

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SHAPE = (2, 3, 1)
MEAN, VARIANCE = RNG.uniform(-0.3, 0.3, 6), RNG.uniform(0.02, 0.1, 6)


def model_of(denoiser, **settings):
    """The model of a denoiser of `[n, D]` that has no parameters."""
    config = DiffusionConfig(SHAPE, **settings)

    def denoise(params, z, gamma):
        return denoiser(z.reshape(len(z), -1), gamma).reshape(z.shape)

    model = diffusion.diffusion(config, lambda key: {}, denoise)
    return model, model.init(KEY)


def images_of(x):
    """Images, of which `x` are the numbers in [-1, 1]; x must be among the 256 values."""
    return jnp.asarray(np.uint8(np.round((x + 1) * 128 - 0.5)).reshape(-1, *SHAPE))


def gaussian_data(n):
    x = RNG.normal(MEAN, np.sqrt(VARIANCE), (n, 6))
    return VALUES[np.clip(np.round((x + 1) * 128 - 0.5), 0, 255).astype(int)]


def test_pixels_are_256_values_and_come_back():
    stored = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_allclose(diffusion.to_data(stored), VALUES, atol=1e-7)
    np.testing.assert_allclose(diffusion.to_data(stored / 255.0), VALUES, atol=1e-7)
    back = diffusion.to_images(diffusion.to_data(stored))
    np.testing.assert_allclose(back, np.arange(256) / 255, atol=1e-6)
    assert diffusion.to_images(jnp.array([-2.0, 2.0])).tolist() == [0.0, 1.0]


def test_prior_term_equals_its_integral():
    x, gamma = np.array([[0.7, -1.0]]), 2.5
    alpha, sigma = shares(gamma)

    def one(value):
        q = stats.norm(alpha * value, sigma)
        return integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), -12, 12)[0]

    found = diffusion.prior_term(jnp.asarray(x), jnp.float32(gamma))
    np.testing.assert_allclose(found, [one(0.7) + one(-1.0)], rtol=1e-5)


@pytest.mark.parametrize("gamma", [-13.3, -9.0, -2.0])
def test_decoder_term_is_a_softmax_over_256_values(gamma):
    x, noise = VALUES[[[0, 100, 255]]], RNG.normal(size=(1, 3))
    alpha, sigma = shares(gamma)
    y = x + sigma / alpha * noise
    log_p = special.log_softmax(-0.5 * ((y[..., None] - VALUES) * np.exp(-gamma / 2)) ** 2, -1)
    expected = -log_p[0, range(3), [0, 100, 255]].sum()
    found = diffusion.decoder_term(jnp.asarray(x), jnp.float32(gamma), jnp.asarray(noise))
    np.testing.assert_allclose(found, [expected], rtol=1e-4, atol=1e-5)


def test_diffusion_term_is_the_error_of_the_noise():
    x, noise = RNG.normal(size=(2, 2, 4)).astype(np.float32)
    gamma, slope = np.array([-1.0, 2.0], np.float32), 5.0

    def guess(z, gamma):
        return 0.3 * z

    alpha, sigma = (share[:, None] for share in shares(gamma))
    z = alpha * x + sigma * noise
    found_noise = (z - alpha * 0.3 * z) / sigma
    expected = 0.5 * slope * ((noise - found_noise) ** 2).sum(-1)
    found = diffusion.diffusion_term(guess, jnp.asarray(x), jnp.asarray(gamma), slope, noise)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bits_per_dimension_of_gaussian_data_are_closed():
    """Each image's bound under the exact denoiser of a Gaussian is a sum of closed integrals."""
    model, params = model_of(gaussian_denoiser(MEAN, VARIANCE), bound_times=256)
    x = gaussian_data(200)
    expected = gaussian_bound(x, MEAN, VARIANCE, -13.3, 9.0)
    elbo = jax.jit(model.elbo)
    draws = -np.stack([elbo(params, images_of(x), key) for key in jax.random.split(KEY, 16)])
    error = (draws.mean(0) - expected) / (draws.std(0) / 4)
    assert np.abs(error).mean() < 1.2  # 0.83 for Student's t with 15 degrees of freedom
    bits, right = (
        diffusion.bits_per_dimension(nats.mean(), SHAPE) for nats in (draws.mean(0), expected)
    )
    assert abs(bits - right) < 0.015  # of 7.56; two standard errors are 0.007
    whole = negative_elbo(model, params, images_of(x), KEY, samples=2)
    assert abs(diffusion.bits_per_dimension(whole.mean(), SHAPE) - right) < 0.03


def test_bits_per_dimension_of_discrete_data_are_their_entropy():
    """The exact denoiser of independent pixels of three values has no gap but the ends' own."""
    values, shares_of_values = VALUES[[10, 30, 200]], np.array([0.5, 0.2, 0.3])

    def exact(z, gamma):
        alpha, sigma = diffusion.alpha(gamma)[:, None, None], diffusion.sigma(gamma)[:, None, None]
        logits = -0.5 * ((z[..., None] - alpha * values) / sigma) ** 2 + jnp.log(shares_of_values)
        return jax.nn.softmax(logits) @ values

    model, params = model_of(exact, bound_times=64)
    x = RNG.permuted(np.repeat(values, [500, 200, 300])[:, None].repeat(6, 1), axis=0)
    elbo = jax.jit(model.elbo)
    draws = -np.stack([elbo(params, images_of(x), key) for key in jax.random.split(KEY, 8)])
    alpha, sigma = shares(9.0)

    def excess(z):
        """q(z_1) log q(z_1) / N(z_1; 0, 1)."""
        q = shares_of_values @ stats.norm.pdf(z, alpha * values, sigma)
        return q * np.log(q / stats.norm.pdf(z))

    per_pixel = (
        stats.entropy(shares_of_values)
        + shares_of_values @ decoder(values, -13.3)
        + integrate.quad(excess, -10, 10)[0]
    )
    bits = diffusion.bits_per_dimension(draws.mean(), SHAPE)
    assert abs(bits - per_pixel / np.log(2)) < 0.01


@pytest.mark.long
def test_bound_with_the_exact_score_of_a_mixture_is_tight():
    """For each x, KL(q(z_0 | x) || p(z_0)), and E log p(z_1) - log N(z_1) for the prior's part."""
    mixture = Mixture([0.7, 0.3], [[-0.5, 0.2], [0.6, -0.4]], 0.01)
    low, high = -6.0, 4.0
    x = mixture.draw(KEY, 4)
    n = 40_000
    many = jnp.repeat(x, n, axis=0)
    keys = jax.random.split(jax.random.key(1), 3)
    gamma = low + (high - low) * jnp.tile(diffusion.low_discrepancy_times(keys[0], n), 4)
    noise = jax.random.normal(keys[1], many.shape)
    terms = diffusion.diffusion_term(mixture.denoise, many, gamma, high - low, noise)
    found = terms.reshape(4, n).mean(1) + diffusion.prior_term(x, jnp.float32(high))

    def mean_log(gamma):
        levels = jnp.full(len(many), gamma)
        z = diffusion.add_noise(many, levels, jax.random.normal(keys[2], many.shape))
        normal = stats.norm.logpdf(np.asarray(z)).sum(-1)
        at = mixture.log_density(z, levels)
        return np.asarray(at).reshape(4, n).mean(1), normal.reshape(4, n).mean(1)

    entropy = np.log(2 * np.pi * np.e * shares(low)[1] ** 2)
    end, normal = mean_log(high)
    expected = -mean_log(low)[0] - entropy + end - normal
    np.testing.assert_allclose(found, expected, atol=0.08)


def test_weightings_are_those_of_the_papers():
    gamma = np.array([-8.0, -2.0, 3.0])

    def weight(**settings):
        return diffusion.weight(DiffusionConfig(**settings), jnp.asarray(gamma))

    np.testing.assert_array_equal(weight(weighting="vlb"), 1.0)
    expected = special.expit(gamma + 1.5)
    np.testing.assert_allclose(weight(weighting="sigmoid", sigmoid_bias=1.5), expected, rtol=1e-5)
    # EDM: E over log sigma ~ N(-1.2, 1.2^2) of (sigma^2 + s^2) / (sigma s)^2 ||x - x^||^2, and
    # ||x - x^||^2 = sigma^2 ||epsilon - epsilon^||^2.
    sigma = np.exp(gamma / 2)
    density = stats.norm.pdf(np.log(sigma), -1.2, 1.2) / 2
    expected = density * (sigma**2 + 0.25) / (sigma * 0.5) ** 2 * sigma**2
    np.testing.assert_allclose(weight(weighting="edm"), expected, rtol=1e-5)


def test_loss_is_the_mean_over_images_and_integrates_the_weight():
    model, params = model_of(gaussian_denoiser(MEAN, VARIANCE), weighting="sigmoid")
    images = images_of(gaussian_data(4000))
    per_image = model.per_image_loss(params, images, KEY)
    np.testing.assert_allclose(model.loss(params, images, KEY), per_image.mean(), rtol=1e-5)

    def integrand(gamma):
        """E w ||epsilon - epsilon^||^2 / 2 of a Gaussian: SNR s^2 / (1 + SNR s^2) a pixel."""
        ratio = np.exp(-gamma) * VARIANCE
        return 0.5 * special.expit(gamma + 2) * (ratio / (1 + ratio)).sum()

    expected = integrate.quad(integrand, -13.3, 9)[0]
    np.testing.assert_allclose(per_image.mean(), expected, rtol=0.05)


@pytest.mark.long
def test_learned_ends_start_at_the_config_and_follow_the_bound():
    """Their gradient is the slope of the closed bound."""
    settings = {"schedule": "learned", "weighting": "vlb", "gamma_min": -9.0, "gamma_max": 0.0}
    model, params = model_of(gaussian_denoiser(MEAN, VARIANCE), **settings)
    low, high = diffusion.ends(DiffusionConfig(**settings), params["schedule"])
    np.testing.assert_allclose([low, high], [-9.0, 0.0], atol=1e-5)
    x = gaussian_data(50)

    def closed(ends):
        start, log_span = ends
        return gaussian_bound(x, MEAN, VARIANCE, start, start + np.exp(log_span)).mean()

    at = np.array([-9.0, np.log(9.0)])
    expected = optimize.approx_fprime(at, closed, 1e-3)
    batch = jnp.repeat(images_of(x), 64, axis=0)  # each at 64 levels
    step = jax.jit(jax.value_and_grad(model.loss))
    draws = [step(params, batch, key) for key in jax.random.split(KEY, 8)]
    np.testing.assert_allclose(np.mean([loss for loss, _ in draws]), closed(at), rtol=0.01)
    for name, slope in zip(("start", "log_span"), expected, strict=True):
        found = np.array([grads["schedule"][name] for _, grads in draws])
        error = found.std(ddof=1) / np.sqrt(8)
        assert error < 0.1 * abs(slope)
        assert abs(found.mean() - slope) < 4 * error


def test_times_are_uniform_each_and_even_together():
    times = np.stack([diffusion.low_discrepancy_times(k, 64) for k in jax.random.split(KEY, 300)])
    assert times.min() >= 0
    assert times.max() < 1
    assert stats.kstest(times[:, 5], "uniform").pvalue > 0.01
    for some in (times, times[:, :40]):  # of a padded batch too
        gaps = np.diff(np.sort(some, axis=1), axis=1)
        assert gaps.max() < 3 / some.shape[1]
    even = np.exp(3 * times).mean(1).var()
    independent = np.exp(3 * RNG.random(times.shape)).mean(1).var()
    assert even < 0.05 * independent  # with 64 evenly spaced times 0.016


def test_images_of_another_shape_are_refused():
    model, params = model_of(gaussian_denoiser(MEAN, VARIANCE))
    with pytest.raises(ValueError, match=r"images.*\[n, 2, 3, 1\].*got \[4, 3, 3, 1\]"):
        model.loss(params, jnp.zeros((4, 3, 3, 1)), KEY)


MONOTONE = {"shape": "monotone", "weighting": "vlb", "gamma_min": -9.0, "gamma_max": 4.0}


def bent(params):
    """A schedule that rises steeply in the middle."""
    height = params["schedule"]["log_height"] + 3.0 * jnp.exp(-(jnp.linspace(-3, 3, 64) ** 2))
    return params | {"schedule": params["schedule"] | {"log_height": height}}


def test_monotone_shape_runs_from_end_to_end_and_its_slope_is_its_derivative():
    config = DiffusionConfig(**MONOTONE)
    fresh = {"schedule": diffusion.init_schedule(config)}
    times = jnp.linspace(0, 1, 101)
    share, slope = diffusion.shape(config, fresh["schedule"], times)
    np.testing.assert_allclose(share, times, atol=0.02)
    schedule = bent(fresh)["schedule"]
    share, slope = diffusion.shape(config, schedule, times)
    np.testing.assert_allclose([share[0], share[-1]], [0.0, 1.0], atol=1e-6)
    assert slope.max() > 2 * slope.min() > 0
    exact = jax.vmap(jax.grad(lambda t: diffusion.shape(config, schedule, t)[0]))(times)
    np.testing.assert_allclose(slope, exact, rtol=1e-3)


@pytest.mark.long
def test_shape_leaves_the_mean_of_the_bound_and_follows_its_variance():
    """E L^2 of Gaussian data is a closed integral: epsilon - epsilon^ is N(0, r), r as below."""
    model, params = model_of(gaussian_denoiser(MEAN, VARIANCE), **MONOTONE)
    params, config = bent(params), DiffusionConfig(**MONOTONE)
    x = jnp.asarray(gaussian_data(6000))
    losses = model.per_image_loss(params, images_of(x), KEY)
    linear, none = model_of(gaussian_denoiser(MEAN, VARIANCE), **MONOTONE | {"shape": "linear"})
    expected = linear.per_image_loss(none, images_of(x), KEY).mean()
    np.testing.assert_allclose(losses.mean(), expected, rtol=0.03)

    def second_moment(schedule):
        share, slope = diffusion.shape(config, schedule, (jnp.arange(4000) + 0.5) / 4000)
        ratio = jnp.exp(-(-9.0 + 13.0 * share))[:, None] * VARIANCE
        r = ratio / (1 + ratio)
        return ((6.5 * slope) ** 2 * (r.sum(-1) ** 2 + 2 * (r**2).sum(-1))).mean()

    closed = jax.grad(second_moment)(params["schedule"])
    grads = jax.jit(jax.grad(model.loss))
    draws = [grads(params, images_of(x), key)["schedule"] for key in jax.random.split(KEY, 4)]
    for name, right in closed.items():
        found = np.mean([draw[name] for draw in draws], axis=0) * losses.mean()
        cosine = found @ right / np.linalg.norm(found) / np.linalg.norm(right)
        assert cosine > 0.97, name
        np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(right), rtol=0.2)
