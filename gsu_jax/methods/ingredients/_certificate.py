"""The certificate of a guide: where it improves the teacher, measured on retained images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import whole
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients._noise_guide import (
    Guide,
    correction,
    error_of_noise,
    pull,
)
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

SURE = 2.0  # standard errors by which a gain must exceed 0


class Certificate(NamedTuple):
    """What a guide does in each of B bins of the noise level, measured on images it has not seen.

    The denoising losses are 1/2 |epsilon - epsilon^|^2 of retained images, in nats for each unit of
    gamma. The exact guide makes the teacher's loss the least possible.

    Attributes:
        edges: `[B + 1]`, of the bins.
        scale: `[B]`, k in [0, 1]: by how much the guide's correction is multiplied. 0 where the
            correction does not lower the loss by more than chance.
        teacher: `[B]`, the loss of the teacher.
        guided: `[B]`, the loss with k times the correction.
        undecided: `[B]`, E[c (1 - c)] over all images: large where noise hides what is forgotten.
    """

    edges: jax.Array
    scale: jax.Array
    teacher: jax.Array
    guided: jax.Array
    undecided: jax.Array

    @property
    def gain(self) -> jax.Array:
        """The nats that the correction gains over all bins: at best -log(1 - pi)."""
        return ((self.teacher - self.guided) * jnp.diff(self.edges)).sum()

    def at(self, gamma: jax.Array) -> jax.Array:
        """Returns k at noise levels; 0 outside the bins."""
        bins = jnp.searchsorted(self.edges, gamma, side="right") - 1
        inside = (bins >= 0) & (bins < len(self.scale))
        return jnp.where(inside, self.scale[jnp.clip(bins, 0, len(self.scale) - 1)], 0.0)

    def draw(self, key: jax.Array, n: int, spread: float = 0.1) -> jax.Array:
        """Draws `[n]` noise levels in proportion to E[c (1 - c)] where k > 0.

        Args:
            key: A PRNG key.
            n: How many.
            spread: The share that is drawn evenly from all bins.
        """
        weights = jnp.where(self.scale > 0, self.undecided, 0.0) + 1e-12
        weights = (1.0 - spread) * weights / weights.sum() + spread / len(weights)
        ends = jnp.concatenate([jnp.zeros(1), jnp.cumsum(weights)])
        return jnp.interp(low_discrepancy_times(key, n), ends / ends[-1], self.edges)


def retained_denoiser(denoise: Denoise, guide: Guide, certificate: Certificate) -> Denoise:
    """The denoiser of the images without the forgotten ones, from the one of all images.

        x_r = x* - k (sigma^2 / alpha) c grad h

    p_r,t is proportional to p_t (1 - c_t), so the scores differ by grad log(1 - c) = -c grad h, and
    x* = (z + sigma^2 score) / alpha. k is the certificate's.

    Args:
        denoise: `denoise(z, gamma) -> x*`, of all images.
        guide: h, with the prior odds of the data.
        certificate: k.

    Returns:
        `denoise(z, gamma) -> x_r`.

    Example:
        >>> one = jnp.ones(1)
        >>> certificate = Certificate(jnp.array([-1.0, 1.0]), one, one, one, one)
        >>> guide = lambda z, gamma: 2.0 * z.sum(1)  # c grad h is 1 at z = 0
        >>> x_r = retained_denoiser(lambda z, gamma: z, guide, certificate)
        >>> round(float(x_r(jnp.zeros((1, 2)), jnp.zeros(1))[0, 0]), 3)  # -sigma^2 / alpha
        -0.707
    """

    def retained(z: jax.Array, gamma: jax.Array) -> jax.Array:
        scale = certificate.at(gamma) * sigma(gamma) ** 2 / alpha(gamma)
        return denoise(z, gamma) - like(scale, z) * pull(guide, z, gamma)

    return retained


def certify(
    denoise: Denoise,
    guide: Guide,
    forget: ImageSet,
    retain: ImageSet,
    odds: float | jax.Array,
    key: jax.Array,
    *,
    window: tuple[float, float],
    bins: int = 22,
    images: int = 512,
) -> Certificate:
    """Measures in bins of the noise level whether a guide improves the teacher.

        k = <epsilon - epsilon*, sigma c grad h> / |sigma c grad h|^2,   clipped to [0, 1]

    over noisy retained images: the multiple of the correction that fits best. k = 0 where the
    product is not above 0 by two standard errors.

    Args:
        denoise: The teacher.
        guide: h, with the prior odds of the data.
        forget: Images to forget, for E[c (1 - c)] alone.
        retain: Retained images on which the guide was not trained.
        odds: n_f / n_r of the whole sets.
        key: A PRNG key.
        window: The least and the largest noise level.
        bins: How many.
        images: Of each set in a bin, with replacement.

    Returns:
        The certificate.

    Raises:
        TypeError: `bins` or `images` is no integer.
        ValueError: `window` is not (low, high), or a number is below 1.

    Example:
        >>> dark, bright = (ImageSet.of(jnp.full((3, 2, 2, 1), x)) for x in (0.2, 0.8))
        >>> teacher = lambda z, gamma: jnp.zeros_like(z)
        >>> nowhere = lambda z, gamma: jnp.zeros(len(z))  # a guide without a gradient gains nothing
        >>> key, window = jax.random.key(0), (-4.0, 6.0)
        >>> found = certify(teacher, nowhere, dark, bright, 1.0, key, window=window, bins=2)
        >>> found.scale.tolist(), float(found.gain)
        ([0.0, 0.0], 0.0)
    """
    window = check_window(window)
    whole(1, bins=bins, images=images)
    edges = jnp.linspace(*window, bins + 1)

    def of_bin(now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        low, key = now
        keys = jax.random.split(key, 4)
        gamma = low + (edges[1] - edges[0]) * low_discrepancy_times(keys[0], images)

        def noisy(some: ImageSet, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            choice_key, noise_key = jax.random.split(key)
            x = to_data(some.take(jax.random.randint(choice_key, (images,), 0, some.count)))
            return add_noise(x, gamma, jax.random.normal(noise_key, x.shape)), x

        (z, x), (z_forget, _) = noisy(retain, keys[1]), noisy(forget, keys[2])
        error = error_of_noise(gamma, denoise(z, gamma) - x).reshape(images, -1)
        pulled = correction(guide, z, gamma).reshape(images, -1)
        products, squares = (error * pulled).sum(-1), jnp.square(pulled).sum(-1)
        sure = products.mean() > SURE * products.std() / images**0.5
        best = jnp.clip(products.mean() / jnp.maximum(squares.mean(), 1e-12), 0.0, 1.0)
        scale = jnp.where(sure, best, 0.0)
        teacher = 0.5 * jnp.square(error).sum(-1).mean()
        guided = teacher - scale * products.mean() + 0.5 * scale**2 * squares.mean()
        undecided = [_undecided(guide(some, gamma)) for some in (z_forget, z)]
        mixed = (odds * undecided[0] + undecided[1]) / (1.0 + odds)
        return scale, teacher, guided, mixed

    found = jax.lax.map(of_bin, (edges[:-1], jax.random.split(key, bins)))
    return Certificate(edges, *found)


def _undecided(logits: jax.Array) -> jax.Array:
    c = jax.nn.sigmoid(logits)
    return (c * (1.0 - c)).mean()
