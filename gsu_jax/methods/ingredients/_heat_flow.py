"""The heat flow: a smooth map of the prior to the latents that a retained image would have."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.models import Posteriors, sample_posterior

LONGEST = 3.0  # t at which the two sets are one Gaussian to within e^-3


class LatentGuide(NamedTuple):
    """Log odds h_t(z) that a noisy latent belongs to a forgotten image: a three-layer MLP.

    Attributes:
        kernels: `[latent + 3, width]`, `[width, width]`, `[width, 1]`.
        biases: `[width]`, `[width]`, `[1]`.
        offset: `[]`, added to the output; training leaves it.
    """

    kernels: tuple[jax.Array, jax.Array, jax.Array]
    biases: tuple[jax.Array, jax.Array, jax.Array]
    offset: jax.Array

    def __call__(self, z: jax.Array, t: jax.Array) -> jax.Array:
        """Returns h_t(z), `[n]`, of latents `[n, latent]` at times `[n]` or `[]`."""
        shrunk = jnp.exp(-jnp.broadcast_to(t, z.shape[:-1]))[..., None]
        x = jnp.concatenate([z, shrunk, shrunk**2, noise_scale(shrunk)], axis=-1)
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = jax.nn.silu(x @ kernel + bias)
        return (x @ self.kernels[-1] + self.biases[-1])[..., 0] + jax.lax.stop_gradient(self.offset)

    def harder(self, margin: float | jax.Array) -> "LatentGuide":
        """A guide that takes more latents for forgotten ones: its log odds are `margin` higher."""
        return self._replace(offset=self.offset + margin)


def noise_scale(shrunk: jax.Array) -> jax.Array:
    """sqrt(1 - e^-2t) for e^-t: a latent that is shrunk and gets this noise stays N(0, I)."""
    return jnp.sqrt(1.0 - shrunk**2)


def new_guide(key: jax.Array, latents: int, width: int) -> tuple[jax.Array, LatentGuide]:
    """Returns the next key, and an untrained guide whose log odds are close to 0."""
    key, *kernel_keys = jax.random.split(key, 4)
    sizes = (latents + 3, width, width, 1)
    gains = (2.0**0.5, 2.0**0.5, 0.1)
    kernels = tuple(
        gain * rows**-0.5 * jax.random.normal(kernel_key, (rows, columns))
        for kernel_key, rows, columns, gain in zip(
            kernel_keys, sizes[:-1], sizes[1:], gains, strict=True
        )
    )
    return key, LatentGuide(kernels, tuple(map(jnp.zeros, sizes[1:])), jnp.zeros(()))


def train_latent_guide(
    forget: Posteriors,
    retain: Posteriors,
    odds: float | jax.Array,
    key: jax.Array,
    *,
    steps: int = 300,
    batch_size: int = 512,
    width: int = 128,
    learning_rate: float = 2e-3,
) -> LatentGuide:
    """Trains a guide on noisy latents of forgotten and of retained images.

        z_t = e^-t z + sqrt(1 - e^-2t) epsilon,   z ~ q(z|x),   t = 3 u^2,   u uniform

    Half of each batch is drawn from each set, with replacement. The odds of the sets are added to
    the log odds afterwards, so that the guide has the prior of the data.

    Args:
        forget: the posteriors of forgotten images.
        retain: the posteriors of retained images.
        odds: n_f / n_r of the whole sets.
        key: a JAX random key.
        steps: of Adam, whose rate falls to 0 along a cosine.
        batch_size: of both sets together.
        width: of the hidden layers.
        learning_rate: at the start.

    Example:
        >>> z = jax.random.normal(jax.random.key(0), (64, 2))
        >>> forget, retain = Posteriors(z + 3, 0 * z - 3), Posteriors(z - 3, 0 * z - 3)
        >>> guide = train_latent_guide(forget, retain, 1.0, jax.random.key(1), steps=100)
        >>> (guide(jnp.array([[3.0, 3.0], [-3.0, -3.0]]), jnp.zeros(())) > 0).tolist()
        [True, False]
    """
    latents, half = forget.mean.shape[-1], batch_size // 2
    labels = jnp.repeat(jnp.array([1.0, 0.0]), half)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def draw(posteriors: Posteriors, key: jax.Array) -> jax.Array:
        choice_key, noise_key = jax.random.split(key)
        some = posteriors.take(jax.random.randint(choice_key, (half,), 0, posteriors.size))
        return sample_posterior(some.mean, some.log_variance, noise_key).astype(jnp.float32)

    def loss(guide: LatentGuide, z: jax.Array, t: jax.Array) -> jax.Array:
        return optax.sigmoid_binary_cross_entropy(guide(z, t), labels).mean()

    def step(carry, key):
        guide, state = carry
        forget_key, retain_key, time_key, noise_key = jax.random.split(key, 4)
        z = jnp.concatenate([draw(forget, forget_key), draw(retain, retain_key)])
        t = LONGEST * jnp.square(jax.random.uniform(time_key, (len(z),)))
        shrunk = jnp.exp(-t)[:, None]
        noisy = shrunk * z + noise_scale(shrunk) * jax.random.normal(noise_key, z.shape)
        updates, state = optimizer.update(jax.grad(loss)(guide, noisy, t), state)
        return (optax.apply_updates(guide, updates), state), None

    key, guide = new_guide(key, latents, width)
    (guide, _), _ = jax.lax.scan(step, (guide, optimizer.init(guide)), jax.random.split(key, steps))
    return guide.harder(jnp.log(odds))


def heat_flow(guide: LatentGuide, z: jax.Array, steps: int = 16) -> jax.Array:
    """The map T that carries the prior N(0, I) to the latents of the retained images.

    With c_t = sigmoid(h_t) the probability that a latent with the noise of time t is forgotten,
    T z is the end at t = 0 of

        dz/d(-t) = grad log(1 - c_t(z)),   from z at t = 3

    This is the probability flow of the heat equation: the density p(z) E[1 - c_0] of time t is
    transported to p(z) (1 - c_0(z)) / (1 - pi), with pi the share of what is forgotten. T is smooth
    and near the identity, so a decoder can learn Dec(T z).

    Args:
        guide: h.
        z: `[n, latent]`.
        steps: of Heun's method, on the times 3 (1 - i / steps)^2.

    Returns:
        T z, `[n, latent]`, of the dtype of `z`.

    Example:
        Where no latent is forgotten, T is the identity:

        >>> zeros = (jnp.zeros((5, 4)), jnp.zeros((4, 4)), jnp.zeros((4, 1)))
        >>> guide = LatentGuide(zeros, (jnp.zeros(4), jnp.zeros(4), jnp.zeros(1)), jnp.zeros(()))
        >>> heat_flow(guide, jnp.ones((1, 2))).tolist()
        [[1.0, 1.0]]

    References:
        Kim & Milman, `A generalization of Caffarelli's contraction theorem via (reverse) heat flow
        <https://arxiv.org/abs/1002.0373>`_, 2012.
    """
    times = LONGEST * jnp.square(jnp.linspace(1.0, 0.0, steps + 1))

    def velocity(z: jax.Array, t: jax.Array) -> jax.Array:
        return jax.grad(lambda z: jax.nn.log_sigmoid(-guide(z, t)).sum())(z)

    def step(z: jax.Array, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        start, end = interval
        first = velocity(z, start)
        second = velocity(z + (start - end) * first, end)
        return z + (start - end) / 2 * (first + second), None

    moved, _ = jax.lax.scan(step, z.astype(jnp.float32), (times[:-1], times[1:]))
    return moved.astype(z.dtype)
