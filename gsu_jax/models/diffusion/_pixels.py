"""Pixels of 256 values as numbers in [-1, 1], which diffusion adds noise to."""

import jax
import jax.numpy as jnp

from gsu_jax.data import scale_images

LEVELS = 256


def to_data(images: jax.Array, rounded: bool = True) -> jax.Array:
    """Images as x in [-1, 1]: value k = 0..255 becomes 2 (k + 1/2) / 256 - 1.

    Args:
        images: `[n, ...]`, uint8 or floating in [0, 1].
        rounded: Whether floats are rounded to the nearest value. A gradient needs False.

    Returns:
        `[n, ...]` float32.

    Example:
        >>> to_data(jnp.array([0.0, 1.0])).tolist()
        [-0.99609375, 0.99609375]
    """
    values = scale_images(images).astype(jnp.float32) * (LEVELS - 1)
    return (2.0 * (jnp.round(values) if rounded else values) + 1.0) / LEVELS - 1.0


def to_images(x: jax.Array, clipped: bool = True) -> jax.Array:
    """The inverse of `to_data`, without rounding.

    Args:
        x: `[n, ...]` in [-1, 1].
        clipped: Whether the images are clipped to [0, 1].

    Returns:
        `[n, ...]`.

    Example:
        >>> to_images(jnp.array([-1.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    images = ((x + 1.0) * LEVELS - 1.0) / (2.0 * (LEVELS - 1))
    return jnp.clip(images, 0.0, 1.0) if clipped else images


def log_probability(x: jax.Array, noise: jax.Array, deviation: jax.Array) -> jax.Array:
    """Gives log p(x | y) at y = x + deviation noise.

    p(x_k | y) is proportional to exp(-(x_k - y)^2 / (2 deviation^2)). So log p is -log sum_j
    exp(b j noise - (b j)^2 / 2) over the values j steps away from x, with b = step / deviation.

    Args:
        x: From `to_data`.
        noise: Of the shape of x.
        deviation: A scalar.

    Returns:
        Of the shape of x, in nats.
    """
    place = (x + 1.0) * (LEVELS / 2) - 0.5
    step = 2.0 / LEVELS / deviation

    @jax.checkpoint  # else the gradient would hold 256 copies of the batch
    def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        away = step * (number - place)
        return total + jnp.exp(away * (noise - 0.5 * away)), None

    numbers = jnp.arange(LEVELS, dtype=jnp.float32)
    return -jnp.log(jax.lax.scan(add, jnp.zeros_like(x), numbers)[0])
