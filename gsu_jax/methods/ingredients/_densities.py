"""The density of a posterior at a latent, which says how likely an image has it."""

import jax
import jax.numpy as jnp
import numpy as np


def log_density(z: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """The logarithm of q(z|x) = N(z; mean, exp log_variance), summed over the last axis.

    Args:
        z: `[..., latent]`.
        mean: `[..., latent]`, of a shape that broadcasts with `z`.
        log_variance: `[..., latent]`, the same.

    Returns:
        `[...]`, float32.

    Example:
        >>> z = jnp.zeros((1, 2))
        >>> round(float(log_density(z, z, z)[0]), 4)
        -1.8379
    """
    z, mean, log_variance = (x.astype(jnp.float32) for x in (z, mean, log_variance))
    squares = jnp.square(z - mean) * jnp.exp(-log_variance)
    return -0.5 * (squares + log_variance + np.log(2 * np.pi)).sum(-1)
