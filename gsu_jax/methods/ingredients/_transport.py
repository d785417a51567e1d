"""Optimal transport of forgotten latents to retained ones, as Gaussians."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.data import Count
from gsu_jax.models import Posteriors

LEAST_NEIGHBORS = 32  # fewer images have too little variety


class Transport(NamedTuple):
    """The map z -> target + (z - origin) A^T from forgotten to retained latents.

    Attributes:
        origin: `[latent]`.
        target: `[latent]`.
        matrix: A, `[latent, latent]`.

    Example:
        >>> shift = Transport(jnp.zeros(2), jnp.array([1.0, 2.0]), jnp.eye(2))
        >>> shift(jnp.ones((1, 2))).tolist()
        [[2.0, 3.0]]
    """

    origin: jax.Array
    target: jax.Array
    matrix: jax.Array

    def __call__(self, z: jax.Array) -> jax.Array:
        """Moves latents `[n, latent]`."""
        return self.target + (z - self.origin) @ self.matrix.T


class Neighbors(NamedTuple):
    """The retained images nearest to the forgotten ones.

    Attributes:
        indices: of all retained images, the nearest first.
        count: k, the number of neighbors.
        weight: a, from 0 (the neighbors are far away, or are all retained images) to 1/2 (they lie
            among the forgotten images).
    """

    indices: jax.Array
    count: Count
    weight: jax.Array


def find_neighbors(forget: Posteriors, retain: Posteriors, ratio: float | jax.Array) -> Neighbors:
    """Finds the k = ratio n retained images nearest to the forgotten ones, and their overlap.

        a = 1/2 (1 - k / n) share of the k within the radius that holds 90 % of the forgotten

    Distances are Mahalanobis distances of posterior means to the forgotten latents. k is at least
    32 and at most n. A few forgotten images have a small spread, so they overlap with nothing.

    Args:
        forget: the posteriors of all forgotten images.
        retain: the posteriors of n random retained images.
        ratio: n_f / n_r of the whole sets, the number of forgotten images for each retained one.

    Returns:
        The order of the retained images, k and a.

    Example:
        >>> near, far = jnp.zeros((40, 2)), jnp.full((40, 2), 9.0)
        >>> forget = Posteriors(near, near)
        >>> retain = Posteriors(jnp.concatenate([far, near]), jnp.zeros((80, 2)))
        >>> found = find_neighbors(forget, retain, ratio=0.5)
        >>> int(found.count), int(found.indices[0])
        (40, 40)
    """
    mean, covariance = forget.moments()
    whitening = power(covariance, -0.5)

    def squared_distances(latents: Posteriors) -> jax.Array:
        distances = jnp.square((latents.mean - mean) @ whitening).sum(-1)
        return jnp.where(latents.is_valid, distances, jnp.inf)

    n, distances = retain.size, squared_distances(retain)
    k = jnp.clip(jnp.round(ratio * n).astype(int), min(LEAST_NEIGHBORS, len(retain.mean)), n)
    nearest = jnp.argsort(distances)
    radius = quantile(squared_distances(forget), 0.9, forget.size)
    within = (distances[nearest] < radius) & (jnp.arange(len(nearest)) < k)
    share = within.sum(dtype=distances.dtype) / k
    return Neighbors(nearest, k, (1 - k / n) / 2 * share)


def quantile(values: jax.Array, q: float, count: Count) -> jax.Array:
    """The q-quantile of the `count` smallest of `values` `[n]`, as `jnp.quantile` has it."""
    place = q * (jnp.asarray(count, values.dtype) - 1)
    low = jnp.floor(place).astype(int)
    below, above = jnp.sort(values)[jnp.stack([low, jnp.minimum(low + 1, count - 1)])]
    return below + (place - low) * (above - below)


@jax.default_matmul_precision("highest")  # TF32 of a GPU would move the roots of covariances
def fit_transport(
    forget: Posteriors, retain: Posteriors, neighbors: Neighbors, overshoot: float = 0.0
) -> Transport:
    """Fits the optimal transport from forgotten latents to the retained ones that receive them.

        T z = m_r + o (m_r - m_f) + A (z - m_f),  A = S_f^-1/2 (S_f^1/2 S_r S_f^1/2)^1/2 S_f^-1/2

    m and S are mean and covariance of the two sets. Retained image i receives with the weight

        w_i = (1 - a) / n + a [i is one of the k neighbors] / k

    Without overlap (a = 0) the forgotten latents get the variety of all retained images. The
    decoder is smooth, so sending latents far away also moves retained latents that lie between
    them. With an overlap, a part of the weight is on the neighbors.

    Args:
        forget: the posteriors of all forgotten images.
        retain: the posteriors of n random retained images.
        neighbors: what `find_neighbors` found in `retain`.
        overshoot: o.

    Returns:
        The map T.

    Example:
        >>> z = jax.random.normal(jax.random.key(0), (50, 2))
        >>> forget, retain = Posteriors(z, 0 * z), Posteriors(z + 9, 0 * z)
        >>> transport = fit_transport(forget, retain, find_neighbors(forget, retain, ratio=0.1))
        >>> bool(jnp.allclose(transport(z), z + 9, atol=1e-3))
        True

    References:
        Peyre & Cuturi, `Computational Optimal Transport <https://arxiv.org/abs/1803.00567>`_, 2019,
        remark 2.31.
    """
    indices, k, weight = neighbors
    origin, covariance = forget.moments()
    near = jnp.where(jnp.arange(len(indices)) < k, weight / k, 0.0)
    weights = jnp.where(retain.is_valid, (1 - weight) / retain.size, 0.0).at[indices].add(near)
    mean, receiving = retain.moments(weights)
    matrix = transport_matrix(covariance, receiving)
    return Transport(origin, mean + overshoot * (mean - origin), matrix)


def transport_matrix(source: jax.Array, target: jax.Array) -> jax.Array:
    """A = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2, the optimal transport from N(0, S) to N(0, R).

    A is symmetric, and A S A = R. The covariance of an aggregate posterior is positive definite,
    since it includes the variance of each posterior.
    """
    root, inverse_root = power(source, 0.5), power(source, -0.5)
    return inverse_root @ power(root @ target @ root, 0.5) @ inverse_root


def power(matrix: jax.Array, exponent: float) -> jax.Array:
    """A power of a symmetric positive definite matrix, with eigenvalues of at least 1e-6 max."""
    values, vectors = jnp.linalg.eigh(matrix)
    values = jnp.maximum(values, 1e-6 * values[-1])
    return (vectors * values**exponent) @ vectors.T
