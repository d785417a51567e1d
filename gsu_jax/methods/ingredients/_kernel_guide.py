"""A guide without training: the log odds of two sums of kernels, one around each image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import above, whole
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients._guide import check_classes
from gsu_jax.methods.ingredients._noise_guide import describe
from gsu_jax.models.diffusion import alpha, sigma, to_data


class KernelGuide(NamedTuple):
    """Log odds h(z, gamma) that a noisy image is a forgotten one, from the images themselves.

    Each image x of a set stands for a normal with its K principal coordinates as mean and tau^2 as
    variance. With noise this is a normal around alpha x with variance sigma^2 + alpha^2 tau^2, and

        h = log(odds) + log mean_f N(z; alpha x_f) - log mean_r N(z; alpha x_r)

    At tau = 0 it is exact for the images at hand, and knows no others; tau lets it.

    Attributes:
        mean: `[pixels]`, of the images in [-1, 1].
        basis: `[pixels, K]`, orthonormal.
        forget: `[a, K]`, coordinates of forgotten images.
        retain: `[b, K]`, of retained ones.
        forget_logs: `[a]`, log weights, which sum to 1; -inf for padding.
        retain_logs: `[b]`, the same.
        bandwidth: tau.
        offset: The log of the prior odds.
    """

    mean: jax.Array
    basis: jax.Array
    forget: jax.Array
    retain: jax.Array
    forget_logs: jax.Array
    retain_logs: jax.Array
    bandwidth: jax.Array
    offset: jax.Array

    def __call__(self, z: jax.Array, gamma: jax.Array) -> jax.Array:
        """Returns h, `[n]`, of noisy images `[n, ...]` at noise levels `[n]`."""
        shrunk = alpha(gamma)[:, None]
        seen = (z.reshape(len(z), -1) - shrunk * self.mean) @ self.basis
        variance = sigma(gamma)[:, None] ** 2 + (shrunk * self.bandwidth) ** 2

        def log_density(images: jax.Array, logs: jax.Array) -> jax.Array:
            # |u - alpha x|^2 without |u|^2, which both sets have.
            products = jnp.matmul(seen, images.T, precision="highest")
            squares = shrunk**2 * jnp.square(images).sum(-1) - 2.0 * shrunk * products
            return jax.nn.logsumexp(logs - 0.5 * squares / variance, axis=1)

        odds = log_density(self.forget, self.forget_logs)
        return odds - log_density(self.retain, self.retain_logs) + self.offset

    def harder(self, margin: float | jax.Array) -> "KernelGuide":
        """A guide that takes more for forgotten: its log odds are `margin` higher."""
        return self._replace(offset=self.offset + margin)


def kernel_guide(
    forget: ImageSet,
    retain: ImageSet,
    odds: float | jax.Array,
    key: jax.Array,
    *,
    bandwidth: float | jax.Array,
    seen: int = 32,
) -> KernelGuide:
    """Makes log odds h(z, gamma) from two sets of images; nothing is trained.

    Args:
        forget: Images to forget.
        retain: Retained images.
        odds: n_f / n_r of the whole sets.
        key: A PRNG key, which draws the images for the principal coordinates.
        bandwidth: tau, in units of pixels in [-1, 1].
        seen: K, principal coordinates.

    Raises:
        TypeError: `seen` is no integer.
        ValueError: A set is empty, the sets have different image shapes, `bandwidth` is not above
            0, or `seen` is below 1.

    Example:
        >>> dark, bright = (ImageSet.of(jnp.full((3, 2, 2, 1), x)) for x in (0.2, 0.8))
        >>> guide = kernel_guide(dark, bright, 1.0, jax.random.key(0), bandwidth=0.1)
        >>> z = jnp.array([-0.6, 0.6]).reshape(2, 1, 1, 1) * jnp.ones((2, 2, 2, 1))
        >>> (guide(z, jnp.zeros(2)) > 0).tolist()
        [True, False]
    """
    check_classes(forget, retain)
    above(0, bandwidth=bandwidth)
    whole(1, seen=seen)
    mean, basis, _ = describe(forget, retain, odds, jax.random.split(key), seen)

    def kernels(images: ImageSet) -> tuple[jax.Array, jax.Array]:
        places = jnp.arange(images.capacity)
        x = to_data(images.take(places % images.count)).reshape(images.capacity, -1)
        logs = jnp.where(places < images.count, 0.0, -jnp.inf) - jnp.log(images.count)
        return (x - mean) @ basis, logs

    (forgotten, forget_logs), (retained, retain_logs) = kernels(forget), kernels(retain)
    numbers = jnp.float32(bandwidth), jnp.log(jnp.float32(odds))
    return KernelGuide(mean, basis, forgotten, retained, forget_logs, retain_logs, *numbers)
