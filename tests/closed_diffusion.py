"""Closed forms for diffusion: Gaussian data, mixtures, and the terms of the bound by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

VALUES = 2 * (np.arange(256) + 0.5) / 256 - 1


def shares(gamma):
    """Alpha and sigma."""
    return np.sqrt(special.expit(-gamma)), np.sqrt(special.expit(gamma))


def decoder(x, gamma):
    """E -log p(x | z_0) for each number in `x`, by a fine sum over the noise."""
    noise, deviation = np.linspace(-7, 7, 701), np.exp(gamma / 2)
    density = stats.norm.pdf(noise)

    def one(value):
        places = (value + deviation * noise)[:, None]
        logits = -0.5 * ((places - VALUES) / deviation) ** 2
        losses = special.logsumexp(logits, axis=-1) + 0.5 * noise**2
        return (losses * density).sum() / density.sum()

    # Far from the ends of the range all values are alike.
    x = np.where(1 - np.abs(x) > 12 * deviation, VALUES[128], x)
    values, places = np.unique(x, return_inverse=True)
    return np.array([one(value) for value in values])[places].reshape(np.shape(x))


def path_bound(x, mean, variance, low, high):
    """Prior and diffusion term of each x `[n, D]` under the exact denoiser of N(mean, variance).

    The reversed noising of N(mean, variance) has the path measure of the model, except that the
    model starts from N(0, I). So both terms are KL(q(z_0 | x) || p(z_0)) plus
    E log p(z_1) - log N(z_1; 0, I).
    """

    def normal(m, v, other_mean, other_variance):
        """E -log N(z; other) with z ~ N(m, v)."""
        return 0.5 * (
            np.log(2 * np.pi * other_variance) + ((m - other_mean) ** 2 + v) / other_variance
        )

    a, s = shares(low)
    start = normal(a * x, s**2, a * mean, a**2 * variance + s**2)
    start -= 0.5 * np.log(2 * np.pi * np.e * s**2)
    a, s = shares(high)
    end = normal(a * x, s**2, 0.0, 1.0) - normal(a * x, s**2, a * mean, a**2 * variance + s**2)
    return (start + end).sum(-1)


def gaussian_bound(x, mean, variance, low, high):
    """The bound of each x, with the decoder term, in nats."""
    return path_bound(x, mean, variance, low, high) + decoder(x, low).sum(-1)


def gaussian_denoiser(mean, variance):
    """x^ of N(mean, diag variance)."""

    def denoise(z, gamma):
        signal = jax.nn.sigmoid(-gamma)[:, None]
        gain = jnp.sqrt(signal) * variance / (signal * variance + 1 - signal)
        return mean + gain * (z - jnp.sqrt(signal) * mean)

    return denoise


class Mixture:
    """A mixture of spherical normals: weights `[k]`, means `[k, d]`, one variance."""

    def __init__(self, weights, means, variance):
        self.weights, self.means, self.variance = jnp.array(weights), jnp.array(means), variance

    def log_parts(self, z, gamma):
        """Log of weight times density of z `[n, d]` for each component, at noise gamma `[n]`."""
        signal = jax.nn.sigmoid(-gamma)[:, None]
        variance = signal * self.variance + 1 - signal
        squared = ((z[:, None] - jnp.sqrt(signal)[..., None] * self.means) ** 2).sum(-1)
        normal = -0.5 * (squared / variance + z.shape[1] * jnp.log(2 * jnp.pi * variance))
        return jnp.log(self.weights) + normal

    def log_density(self, z, gamma):
        return jax.nn.logsumexp(self.log_parts(z, gamma), axis=-1)

    def denoise(self, z, gamma):
        """E[x | z], exactly."""
        signal = jax.nn.sigmoid(-gamma)[:, None]
        alpha, variance = jnp.sqrt(signal), signal * self.variance + 1 - signal
        of_part = jax.nn.softmax(self.log_parts(z, gamma))
        mean = of_part @ self.means
        return mean + alpha * self.variance / variance * (z - alpha * mean)

    def draw(self, key, n):
        part_key, noise_key = jax.random.split(key)
        part = jax.random.choice(part_key, len(self.weights), (n,), p=self.weights)
        noise = jax.random.normal(noise_key, (n, self.means.shape[1]))
        return self.means[part] + np.sqrt(self.variance) * noise
