"""A guide for noisy images: the log odds that one of them is to be forgotten."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import whole
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients._guide import check_classes
from gsu_jax.methods.ingredients._heat_flow import LatentGuide, new_guide
from gsu_jax.methods.ingredients._window import check_window
from gsu_jax.models.diffusion import (
    Denoise,
    add_noise,
    alpha,
    like,
    low_discrepancy_times,
    sigma,
    to_data,
)

PART = 256  # images that the teacher denoises at a time
DESCRIBED = 1024  # images of each set whose principal coordinates the guide sees
LEAST_VARIANCE = 1e-4  # of a coordinate


class NoiseGuide(NamedTuple):
    """Log odds h(z, gamma) that a noisy image is a forgotten one.

    A small network sees K principal coordinates of the image, each denoised as if it were Gaussian
    and divided by its deviation s: alpha s u / (alpha^2 s^2 + sigma^2), with u that of z. So noise
    outside the images' space does not reach it, and the more noise, the smaller what it sees.

    Attributes:
        mean: `[pixels]`, of the images in [-1, 1].
        basis: `[pixels, K]`, orthonormal.
        deviations: `[K]`.
        network: Of these coordinates.
    """

    mean: jax.Array
    basis: jax.Array
    deviations: jax.Array
    network: LatentGuide

    def __call__(self, z: jax.Array, gamma: jax.Array) -> jax.Array:
        """Returns h, `[n]`, of noisy images `[n, ...]` at noise levels `[n]`."""
        shrunk = alpha(gamma)[:, None]
        seen = (z.reshape(len(z), -1) - shrunk * self.mean) @ self.basis
        gains = shrunk * self.deviations
        # The time of the network's heat flow at which e^-t is alpha.
        time = 0.5 * jax.nn.softplus(gamma)
        return self.network(gains / (gains**2 + sigma(gamma)[:, None] ** 2) * seen, time)

    def harder(self, margin: float | jax.Array) -> "NoiseGuide":
        """A guide that takes more for forgotten: its log odds are `margin` higher."""
        return self._replace(network=self.network.harder(margin))


Guide = Callable[[jax.Array, jax.Array], jax.Array]


def pull(guide: Guide, z: jax.Array, gamma: jax.Array) -> jax.Array:
    """Returns c grad h of noisy images: minus the gradient of log(1 - c), with c = sigmoid(h).

    Args:
        guide: h.
        z: `[n, ...]`, noisy images.
        gamma: `[n]`, their noise levels.

    Returns:
        Of the shape of `z`.

    Example:
        >>> guide = lambda z, gamma: 2.0 * z.sum(1)
        >>> pull(guide, jnp.zeros((1, 2)), jnp.zeros(1)).tolist()
        [[1.0, 1.0]]
    """
    return jax.grad(lambda z: jax.nn.softplus(guide(z, gamma)).sum())(z)


def train_noise_guide(
    denoise: Denoise,
    forget: ImageSet,
    retain: ImageSet,
    odds: float | jax.Array,
    key: jax.Array,
    *,
    window: tuple[float, float],
    steps: int = 400,
    batch_size: int = 512,
    width: int = 128,
    seen: int = 64,
    pool: int = 8192,
    score_weight: float = 1.0,
    learning_rate: float = 2e-3,
) -> NoiseGuide:
    """Trains log odds h(z, gamma) that a noisy image is a forgotten one.

    The loss is the cross-entropy on batches of both sets, and on retained images the score term

        1/2 |epsilon - epsilon*(z) - sigma c grad h|^2

    whose minimizer corrects the teacher to the denoiser of the retained images. It makes gradients
    right, which a classifier alone need not have. The odds of the sets are in c.

    Args:
        denoise: The teacher, `denoise(z, gamma) -> x*`.
        forget: Images to forget.
        retain: Retained images.
        odds: n_f / n_r of the whole sets.
        key: A PRNG key.
        window: The least and the largest noise level; levels are drawn evenly between.
        steps: Of Adam, whose rate falls to 0 along a cosine.
        batch_size: Of both sets together.
        width: Of the two hidden layers.
        seen: K, principal coordinates that the network sees.
        pool: Noisy retained images that the teacher denoises, once.
        score_weight: Of the score term.
        learning_rate: At the start.

    Returns:
        The guide, with the odds of the sets.

    Raises:
        TypeError: A number of images, steps or units is no integer.
        ValueError: A set is empty, the sets have different image shapes, `window` is not
            (low, high), or a number is too small.

    Example:
        >>> dark, bright = (ImageSet.of(jnp.full((3, 2, 2, 1), x)) for x in (0.2, 0.8))
        >>> teacher = lambda z, gamma: jnp.zeros_like(z)
        >>> sizes = {"steps": 30, "batch_size": 32, "width": 8, "seen": 2, "pool": 256}
        >>> key, window = jax.random.key(0), (-4.0, 2.0)
        >>> guide = train_noise_guide(teacher, dark, bright, 1.0, key, window=window, **sizes)
        >>> z = jnp.array([-0.6, 0.6]).reshape(2, 1, 1, 1) * jnp.ones((2, 2, 2, 1))
        >>> (guide(z, jnp.full(2, -3.0)) > 0).tolist()
        [True, False]

    References:
        Chao et al., `Denoising Likelihood Score Matching for Conditional Score-based Data
        Generation <https://arxiv.org/abs/2203.14206>`_, 2022.
    """
    check_classes(forget, retain)
    window = check_window(window)
    whole(1, steps=steps, width=width, seen=seen, pool=pool)
    whole(2, batch_size=batch_size)
    half, prior = batch_size // 2, jnp.log(odds)
    labels = jnp.repeat(jnp.array([1.0, 0.0]), half)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    key, pool_key, *some_keys = jax.random.split(key, 4)
    coordinates = describe(forget, retain, odds, some_keys, seen)

    def noisy(images: ImageSet, key: jax.Array, n: int) -> tuple[jax.Array, ...]:
        """`n` images with noise: z, gamma and x."""
        choice_key, time_key, noise_key = jax.random.split(key, 3)
        x = to_data(images.take(jax.random.randint(choice_key, (n,), 0, images.count)))
        low, high = window
        gamma = low + (high - low) * low_discrepancy_times(time_key, n)
        return add_noise(x, gamma, jax.random.normal(noise_key, x.shape)), gamma, x

    def of_teacher(key: jax.Array) -> tuple[jax.Array, ...]:
        z, gamma, x = noisy(retain, key, PART)
        return z, gamma, error_of_noise(gamma, denoise(z, gamma) - x)

    parts = jax.lax.map(of_teacher, jax.random.split(pool_key, -(-pool // PART)))
    z_pool, gamma_pool, errors = (part.reshape(-1, *part.shape[2:]) for part in parts)

    def loss(network: LatentGuide, some: tuple[jax.Array, ...], chosen: jax.Array) -> jax.Array:
        guide = NoiseGuide(*coordinates, network)
        entropy = optax.sigmoid_binary_cross_entropy(guide(*some), labels).mean()
        z, gamma = z_pool[chosen], gamma_pool[chosen]
        pulled = correction(guide.harder(prior), z, gamma)
        squares = jnp.square(errors[chosen] - pulled).reshape(half, -1).sum(-1)
        return entropy + 0.5 * score_weight * squares.mean()

    def step(carry, key):
        network, state = carry
        forget_key, retain_key, choice_key = jax.random.split(key, 3)
        drawn = noisy(forget, forget_key, half)[:2], noisy(retain, retain_key, half)[:2]
        some = tuple(jnp.concatenate(both) for both in zip(*drawn, strict=True))
        chosen = jax.random.randint(choice_key, (half,), 0, len(z_pool))
        updates, state = optimizer.update(jax.grad(loss)(network, some, chosen), state)
        return (optax.apply_updates(network, updates), state), None

    key, network = new_guide(key, len(coordinates[-1]), width)
    start = (network, optimizer.init(network))
    (network, _), _ = jax.lax.scan(step, start, jax.random.split(key, steps))
    return NoiseGuide(*coordinates, network.harder(prior))


def describe(
    forget: ImageSet,
    retain: ImageSet,
    odds: float | jax.Array,
    keys: Sequence[jax.Array] | jax.Array,
    count: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Principal coordinates of both sets together, from some images of each; two `keys`."""
    some = [
        to_data(images.take(jax.random.randint(key, (DESCRIBED,), 0, images.count)))
        for images, key in zip((forget, retain), keys, strict=True)
    ]
    shares = jnp.repeat(jnp.stack([jnp.asarray(odds, jnp.float32), jnp.float32(1.0)]), DESCRIBED)
    return principal_coordinates(jnp.concatenate(some), shares, count)


def principal_coordinates(
    images: jax.Array, weights: jax.Array, count: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, basis and deviations of images `[n, ...]` in [-1, 1] that count with `[n]` weights."""
    x = images.reshape(len(images), -1)
    weights = weights[:, None] / weights.sum()
    mean = (weights * x).sum(0)
    centered = jnp.sqrt(weights) * (x - mean)
    count = min(count, *x.shape)
    if x.shape[1] <= len(x):
        variances, vectors = jnp.linalg.eigh(centered.T @ centered)
        basis = vectors[:, -count:]
    else:
        variances, vectors = jnp.linalg.eigh(centered @ centered.T)
        basis = centered.T @ vectors[:, -count:]
        basis /= jnp.maximum(jnp.linalg.norm(basis, axis=0), 1e-6)
    return mean, basis, jnp.sqrt(jnp.maximum(variances[-count:], LEAST_VARIANCE))


def error_of_noise(gamma: jax.Array, images: jax.Array) -> jax.Array:
    """Images times e^(-gamma / 2): the error of epsilon^ from that of x^."""
    return like(jnp.exp(-0.5 * gamma), images) * images


def correction(guide: Guide, z: jax.Array, gamma: jax.Array) -> jax.Array:
    """What the epsilon of the retained images has more than the teacher's: sigma c grad h."""
    return like(sigma(gamma), z) * pull(guide, z, gamma)
