"""The noise level of a diffusion model as a vector, and layers that it modulates."""

import jax
import jax.numpy as jnp
from flax import nnx

SLOWEST, FASTEST = 0.05, 2.0  # radians per unit of gamma, which runs from about -13 to 9


class NoiseEmbedding(nnx.Module):
    """sin and cos of gamma at `size` / 2 frequencies, through two linear layers."""

    def __init__(self, size: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(size, size, rngs=rngs)
        self.second = nnx.Linear(size, size, rngs=rngs)
        self.size = size

    def __call__(self, gamma: jax.Array) -> jax.Array:
        """`[n]` -> `[n, size]`, after the last activation."""
        waves = jnp.outer(gamma, jnp.geomspace(SLOWEST, FASTEST, self.size // 2))
        features = jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], axis=-1)
        return nnx.silu(self.second(nnx.silu(self.first(features))))


def zero_linear(inputs: int, outputs: int, dtype: str, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer that is 0 at first, so that what it adds or modulates starts at rest."""
    zeros = nnx.initializers.zeros_init()
    return nnx.Linear(inputs, outputs, kernel_init=zeros, dtype=jnp.dtype(dtype), rngs=rngs)


def normalize(x: jax.Array) -> jax.Array:
    """Divides x by its root mean square over the last axis, computed in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def preconditioning(
    gamma: jax.Array, variance: jax.Array | float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scales of z as input, of z in x^, and of the network in x^ (Karras et al. 2022).

    For x ~ N(0, variance): the input has variance 1, `skip` z is the mean of x given z, and `out`
    is the standard deviation of x given z.

    Args:
        gamma: Noise levels.
        variance: Of x, broadcast with `gamma`.

    Returns:
        `into`, `skip` and `out`.

    References:
        Karras et al., `Elucidating the Design Space of Diffusion-Based Generative Models
        <https://arxiv.org/abs/2206.00364>`_, 2022.
    """
    signal, noise = jax.nn.sigmoid(-gamma), jax.nn.sigmoid(gamma)
    into = jax.lax.rsqrt(signal * variance + noise)
    skip = jnp.sqrt(signal) * variance * into**2
    return into, skip, jnp.sqrt(noise * variance) * into
