"""Samplers of a diffusion model: from noise to images, over falling noise levels."""

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax import checks
from gsu_jax.models.diffusion._bound import Denoise
from gsu_jax.models.diffusion._noise import alpha, sigma


def noise_levels(start: jax.Array, end: jax.Array, steps: int) -> jax.Array:
    """`steps` + 1 noise levels from `start` to `end`, evenly spaced in gamma.

    Raises:
        TypeError: `steps` is no integer.
        ValueError: `steps` is below 1.

    Example:
        >>> noise_levels(3.0, -1.0, 2).tolist()
        [3.0, 1.0, -1.0]
    """
    checks.whole(1, steps=steps)
    return jnp.linspace(start, end, steps + 1)


def ancestral(denoise: Denoise, z: jax.Array, gammas: jax.Array, key: jax.Array) -> jax.Array:
    """Draws z_s ~ q(z_s | z_t, x = x^(z_t)) from level to level, with fresh noise at each.

    Args:
        denoise: `denoise(z, gamma) -> x^`, with `gamma` `[n]`.
        z: `[n, ...]`, at the first level.
        gammas: The falling noise levels.
        key: A PRNG key.

    Returns:
        z at the last level.

    Raises:
        ValueError: A noise level is not below the one before.

    Example:
        >>> z, key = jnp.zeros((1, 2)), jax.random.key(0)
        >>> ones = lambda z, gamma: jnp.ones_like(z)
        >>> ancestral(ones, z, noise_levels(9.0, -20.0, 30), key).round(2).tolist()
        [[1.0, 1.0]]

    References:
        Kingma et al., `Variational Diffusion Models <https://arxiv.org/abs/2107.00630>`_, 2021.
    """
    if not checks.is_traced(gammas) and not np.all(np.diff(gammas) < 0):
        raise ValueError(
            f"gammas must fall, because ancestral takes noise away, got {gammas[0]} to "
            f"{gammas[-1]}; reverse them, or use ddim to encode"
        )

    def step(z: jax.Array, now: tuple) -> tuple[jax.Array, None]:
        high, low, key = now
        x = denoise(z, jnp.full(len(z), high))
        share = -jnp.expm1(low - high)  # of the variance, that the step draws anew
        kept = (alpha(low) / alpha(high)) * jnp.exp(low - high)
        mean = kept * z + share * alpha(low) * x
        noise = jax.random.normal(key, z.shape, z.dtype)
        return mean + sigma(low) * jnp.sqrt(share) * noise, None

    keys = jax.random.split(key, len(gammas) - 1)
    return jax.lax.scan(step, z, (gammas[:-1], gammas[1:], keys))[0]


def ddim(denoise: Denoise, z: jax.Array, gammas: jax.Array) -> jax.Array:
    """Steps along the probability flow without noise: z_s = alpha_s x^ + sigma_s epsilon^.

    Args:
        denoise: `denoise(z, gamma) -> x^`, with `gamma` `[n]`.
        z: `[n, ...]`, at the first level.
        gammas: The noise levels; rising ones encode.

    Returns:
        z at the last level.

    Example:
        >>> ones = lambda z, gamma: jnp.ones_like(z)
        >>> ddim(ones, jnp.zeros((1, 2)), noise_levels(9.0, -20.0, 2)).round(2).tolist()
        [[1.0, 1.0]]

    References:
        Song, Meng & Ermon, `Denoising Diffusion Implicit Models
        <https://arxiv.org/abs/2010.02502>`_, 2020.
    """

    def step(z: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        old, new = now
        x = denoise(z, jnp.full(len(z), old))
        return alpha(new) * x + (sigma(new) / sigma(old)) * (z - alpha(old) * x), None

    return jax.lax.scan(step, z, (gammas[:-1], gammas[1:]))[0]


def heun(denoise: Denoise, z: jax.Array, gammas: jax.Array) -> jax.Array:
    """The probability flow by Heun's method, of second order, with two calls a step.

    In y = z / alpha and s = sigma / alpha the flow is dy/ds = (y - x^) / s.

    Args:
        denoise: `denoise(z, gamma) -> x^`, with `gamma` `[n]`.
        z: `[n, ...]`, at the first level.
        gammas: The noise levels; rising ones encode.

    Returns:
        z at the last level.

    Example:
        >>> half = lambda z, gamma: alpha(gamma)[:, None] * z  # x^ of images N(0, 1)
        >>> z = jnp.array([[0.5, -1.0]])
        >>> heun(half, z, noise_levels(9.0, -9.0, 60)).round(2).tolist()  # the flow is still
        [[0.5, -1.0]]

    References:
        Karras et al., `Elucidating the Design Space of Diffusion-Based Generative Models
        <https://arxiv.org/abs/2206.00364>`_, 2022.
    """

    def velocity(y: jax.Array, gamma: jax.Array) -> jax.Array:
        x = denoise(alpha(gamma) * y, jnp.full(len(y), gamma))
        return (y - x) * jnp.exp(-0.5 * gamma)

    def step(y: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        old, new = now
        distance = jnp.exp(0.5 * new) - jnp.exp(0.5 * old)
        first = velocity(y, old)
        second = velocity(y + distance * first, new)
        return y + 0.5 * distance * (first + second), None

    y = jax.lax.scan(step, z / alpha(gammas[0]), (gammas[:-1], gammas[1:]))[0]
    return alpha(gammas[-1]) * y
