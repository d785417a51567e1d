"""Posteriors q(z|x) of many images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.data import Count, ImageSet
from gsu_jax.models._generative import GenerativeModel, Params


def encode_in_parts(
    model: GenerativeModel, params: Params, images: ImageSet, size: int = 1024
) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of q(z|x) of a set's images, `size` images at a time.

    The chunks bound the memory.

    Args:
        model: A model with encode.
        params: Its parameters.
        images: The set.
        size: Images in a chunk.

    Returns:
        Two arrays `[capacity, latent]`. Only the first `count` rows are valid.
    """
    chunks, size = images.chunks(size)

    def encode_one(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_variance = model.encode(params, image[None])
        return mean[0], log_variance[0]

    def add(number: jax.Array, encoded: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        part = jax.vmap(encode_one)(images.chunk(number, size)[0])
        return jax.tree.map(
            lambda all_, some: jax.lax.dynamic_update_slice_in_dim(all_, some, number * size, 0),
            encoded, part,
        )  # fmt: skip

    one = jax.eval_shape(encode_one, jax.eval_shape(images.take, jnp.zeros((), int)))
    room = -(-images.capacity // size) * size
    zeros = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), one)
    encoded = jax.lax.fori_loop(0, chunks, add, zeros)
    return tuple(x[: images.capacity] for x in encoded)


class Posteriors(NamedTuple):
    """q(z|x) of some images.

    Attributes:
        mean: `[n, latent]`.
        log_variance: `[n, latent]`.
        count: Number of valid rows, which come first; it may be traced. None means all.

    Example:
        >>> narrow = Posteriors(jnp.array([[0.0], [2.0]]), jnp.full((2, 1), -jnp.inf))
        >>> mean, covariance = narrow.moments()
        >>> mean.tolist(), covariance.tolist()
        ([1.0], [[1.0]])
    """

    mean: jax.Array
    log_variance: jax.Array
    count: Count | None = None

    @property
    def size(self) -> Count:
        """Number of valid posteriors."""
        return len(self.mean) if self.count is None else self.count

    @property
    def is_valid(self) -> jax.Array:
        """`[n]`, true for the first `size` posteriors; the others are padding."""
        return jnp.arange(len(self.mean)) < self.size

    def take(self, indices: jax.Array, count: Count | None = None) -> "Posteriors":
        """The posteriors at `indices`, of which the first `count` are valid."""
        return Posteriors(self.mean[indices], self.log_variance[indices], count)

    def moments(self, weights: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Mean `[latent]` and covariance `[latent, latent]` of the mixture of these q(z|x).

        Args:
            weights: `[n]`, which sum to 1; by default all valid posteriors have the same weight.
        """
        if weights is None:
            weights = (self.is_valid / self.size).astype(self.mean.dtype)
        mean = weights @ self.mean
        centered = self.mean - mean
        within = jnp.diag(weights @ jnp.exp(self.log_variance))
        return mean, (centered * weights[:, None]).T @ centered + within
