"""x^ of pixels with 256 values: what a network need not learn about them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gsu_jax.models.diffusion import alpha, sigma

BLACK = 1.0 / 256 - 1.0  # the least of the 256 values x_k = 2 (k + 1/2) / 256 - 1
HARMONICS = 4  # enough for a deviation of a sixth of a step


def discrete_mean(
    x: jax.Array,
    logits: Sequence[jax.Array],
    white: jax.Array,
    z: jax.Array,
    gamma: jax.Array,
    variance: float,
) -> jax.Array:
    """x^ of pixels with 256 values, which are often black or almost white, from x^ of all values.

    A pixel is black, x = -1 + 1 / 256; or almost white, N(m, s^2); or another value. The odds of
    the first two against the third are

        exp(logit) N(z; alpha m, sigma^2 + alpha^2 s^2) / N(z; z, sigma^2 + alpha^2 variance)

    with s = 0 for black: the density of z, over that under a broad law. Below gamma = -8 the logits
    count less and less, since z alone tells. x^ is the mean, over the 256 values in little noise.

    Args:
        x: `[n, height, width, channels]`, the mean of other values as if they were continuous.
        logits: Of black and of white, each as `x`.
        white: `[2]`, m and log s.
        z: As `x`, the noisy images.
        gamma: `[n]`, their noise levels.
        variance: Of the other values.
    """
    gamma = gamma[:, None, None, None]
    signal, noise = alpha(gamma), sigma(gamma) ** 2
    counts = jax.nn.sigmoid(gamma + 8.0)

    def odds(logit: jax.Array, mean: jax.Array | float, spread: jax.Array | float) -> jax.Array:
        own, broad = noise + signal**2 * spread, noise + signal**2 * variance
        apart = jnp.square(z - signal * mean) / own
        return counts * logit + 0.5 * (jnp.log(broad) - jnp.log(own) - apart)

    mean, spread = white[0], jnp.exp(2.0 * white[1])
    both = odds(logits[0], BLACK, 0.0), odds(logits[1], mean, spread)
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.maximum(*both), 0.0))
    parts = [jnp.exp(log_odds - largest) for log_odds in (*both, 0.0)]
    shares = [part / sum(parts) for part in parts]
    bright = (mean * noise + signal * spread * z) / (noise + signal**2 * spread)
    others = shares[1] * bright + shares[2] * x
    # What is not black lies on the grid, around its own mean.
    light = jnp.maximum(shares[1] + shares[2], 1e-6)
    return shares[0] * BLACK + light * on_grid(others / light, jnp.exp(0.5 * gamma))


def on_grid(x: jax.Array, deviation: jax.Array) -> jax.Array:
    """The mean of a normal around x over the 256 values of a pixel.

    With k the number of a value, m that of x, and s the deviation in steps, E k = m + s^2 d/dm log
    Z, where Z = sum_k exp(-(k - m)^2 / 2 s^2) = s (2 pi)^(1/2) (1 + 2 sum_n q^(n^2) cos(2 pi n m))
    and q = exp(-2 pi^2 s^2), by Poisson's summation.

    Args:
        x: `[n, height, width, channels]`.
        deviation: Of a shape that broadcasts with it. Below a sixth of a step it counts as that.
    """
    place, spread = 128.0 * x - 0.5, jnp.square(jnp.maximum(128.0 * deviation, 1.0 / 6.0))
    cosine, sine = jnp.cos(2.0 * jnp.pi * place), jnp.sin(2.0 * jnp.pi * place)
    total, slope, now = 1.0, 0.0, (cosine, sine)
    for n in range(1, HARMONICS + 1):
        weight = 2.0 * jnp.exp(-2.0 * (jnp.pi * n) ** 2 * spread)
        total += weight * now[0]
        slope -= 2.0 * jnp.pi * n * weight * now[1]
        now = now[0] * cosine - now[1] * sine, now[1] * cosine + now[0] * sine
    return x + spread * slope / total / 128.0
