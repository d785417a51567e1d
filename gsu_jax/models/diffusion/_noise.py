"""The noising process, its schedules, and the times at which a batch is noised."""

from typing import Any

import jax
import jax.numpy as jnp

from gsu_jax.models._diffusion_configs import DiffusionConfig

STEPS = 64  # of a monotone shape
HALVES = ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF))


def alpha(gamma: jax.Array) -> jax.Array:
    """The share of the image, sqrt(sigmoid(-gamma)), in z = alpha x + sigma epsilon.

    Example:
        >>> round(float(alpha(jnp.zeros(())) ** 2), 3)
        0.5
    """
    return jnp.sqrt(jax.nn.sigmoid(-gamma))


def sigma(gamma: jax.Array) -> jax.Array:
    """The share of the noise, sqrt(sigmoid(gamma)), in z = alpha x + sigma epsilon.

    Example:
        >>> gamma = jnp.array(1.5)
        >>> round(float(sigma(gamma) ** 2 + alpha(gamma) ** 2), 5)
        1.0
    """
    return jnp.sqrt(jax.nn.sigmoid(gamma))


def like(values: jax.Array, images: jax.Array) -> jax.Array:
    """`[n]` values with axes of size 1 behind, to go with `[n, ...]`.

    Example:
        >>> like(jnp.zeros(3), jnp.zeros((3, 4, 4, 1))).shape
        (3, 1, 1, 1)
    """
    return values.reshape(-1, *(1,) * (images.ndim - 1))


def add_noise(x: jax.Array, gamma: jax.Array, noise: jax.Array) -> jax.Array:
    """A draw z = alpha x + sigma noise of q(z | x) for each image.

    Args:
        x: `[n, ...]`.
        gamma: `[n]`, the noise level of each image.
        noise: `[n, ...]`, standard normal.

    Returns:
        `[n, ...]`.

    Example:
        >>> x, noise = jnp.ones((2, 3)), -jnp.ones((2, 3))
        >>> add_noise(x, jnp.zeros(2), noise).tolist()  # as much noise as image
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return like(alpha(gamma), x) * x + like(sigma(gamma), x) * noise


def init_schedule(config: DiffusionConfig) -> dict[str, jax.Array]:
    """The parameters of a schedule: none if it is fixed and linear."""
    schedule = {}
    if config.schedule == "learned":
        span = jnp.float32(config.gamma_max - config.gamma_min)
        schedule = {"start": jnp.float32(config.gamma_min), "log_span": jnp.log(span)}
    if config.shape == "monotone":
        schedule |= {
            "log_height": jnp.full(STEPS, -6.0),
            "log_steepness": jnp.full(STEPS, jnp.log(20.0)),
            "center": jnp.linspace(0.0, 1.0, STEPS),
        }
    return schedule


def shape(
    config: DiffusionConfig, schedule: dict[str, jax.Array], times: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The share of the way from gamma_0 to gamma_1 at each time, and its derivative.

    "linear" is t. "monotone" is m(t) = t + sum_k h_k sigmoid(s_k (t - c_k)), h and s positive,
    moved and scaled to run from 0 to 1; at first it is almost linear.

    Args:
        config: Its `shape`.
        schedule: From `init_schedule`, or trained.
        times: In [0, 1].

    Returns:
        Two arrays of the shape of `times`.

    Example:
        >>> share, slope = shape(DiffusionConfig(), {}, jnp.array([0.25]))
        >>> share.tolist(), slope.tolist()
        ([0.25], [1.0])
    """
    if config.shape == "linear":
        return times, jnp.ones_like(times)
    height, steepness = jnp.exp(schedule["log_height"]), jnp.exp(schedule["log_steepness"])

    def rise(times: jax.Array) -> tuple[jax.Array, jax.Array]:
        risen = jax.nn.sigmoid(steepness * (times[..., None] - schedule["center"]))
        slope = 1.0 + (height * steepness * risen * (1.0 - risen)).sum(-1)
        return times + (height * risen).sum(-1), slope

    (first, last), _ = rise(jnp.array([0.0, 1.0]))
    value, slope = rise(times)
    return (value - first) / (last - first), slope / (last - first)


def ends(config: DiffusionConfig, schedule: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The noise levels gamma_0 < gamma_1 at t = 0 and t = 1.

    A learned span is an exponential, so the ends keep their order.

    Args:
        config: Says whether the ends are learned.
        schedule: From `init_schedule`, or trained.

    Example:
        >>> config = DiffusionConfig(gamma_min=-5.0, gamma_max=3.0)
        >>> [float(end) for end in ends(config, init_schedule(config))]
        [-5.0, 3.0]
    """
    if config.schedule == "fixed":
        return jnp.float32(config.gamma_min), jnp.float32(config.gamma_max)
    start = schedule["start"]
    return start, start + jnp.exp(schedule["log_span"])


def low_discrepancy_times(key: jax.Array, n: int) -> jax.Array:
    """Times in [0, 1): each is uniform, and together they cover the interval evenly.

    t_i = (u + r_i) mod 1 with one uniform u, and r_i the binary digits of i behind the point, the
    last first: 0, 1/2, 1/4, 3/4, ... If n is a power of 2 they are evenly spaced. The first m of
    them are spread too, so a batch may be padded.

    Args:
        key: A PRNG key.
        n: How many.

    Returns:
        `[n]` float32.

    Example:
        >>> times = low_discrepancy_times(jax.random.key(0), 4)
        >>> ((times - times[0]) % 1).tolist()
        [0.0, 0.5, 0.25, 0.75]

    References:
        Kingma et al., `Variational Diffusion Models <https://arxiv.org/abs/2107.00630>`_, 2021,
        appendix I.
    """
    digits = jnp.arange(n, dtype=jnp.uint32)
    for shift, mask in HALVES:
        digits = ((digits & mask) << shift) | ((digits >> shift) & mask)
    start = jax.random.bits(key, (), jnp.uint32)
    return (digits + start >> 8).astype(jnp.float32) / 2**24  # the sum is modulo 2^32


def split(params: Any) -> tuple[Any, dict[str, jax.Array]]:
    """The network's parameters and those of the schedule."""
    return params["network"], params.get("schedule", {})
