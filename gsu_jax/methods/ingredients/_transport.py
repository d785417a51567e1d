"""Where forgotten latents are sent: optimal transport between Gaussians, near or far."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.data import Count
from gsu_jax.models import Posteriors

LEAST_NEIGHBOURS = 32  # fewer have no variety to give


class Transport(NamedTuple):
    """The map z -> target + (z - origin) A^T from forgotten to retained latents."""

    origin: jax.Array
    target: jax.Array
    matrix: jax.Array

    def __call__(self, z: jax.Array) -> jax.Array:
        """Moves latents `[n, latent]`."""
        return self.target + (z - self.origin) @ self.matrix.T


class Neighbours(NamedTuple):
    """The retained images that lie nearest to the forgotten ones.

    Attributes:
      indices: of all retained images, the nearest first.
      count: k, how many of these are neighbours.
      weight: a, from 0 (they lie far off, or are all of the retained) to 1/2 (among them).
    """

    indices: jax.Array
    count: Count
    weight: jax.Array


def find_neighbours(forget: Posteriors, retain: Posteriors, ratio: float | jax.Array) -> Neighbours:
    """The k = ratio n retained images nearest to the forgotten, and how far both sets overlap.

        a = 1/2 (1 - k / n) share of the k within the radius that holds 90 % of the forgotten

    Distances are Mahalanobis distances of posterior means to the forgotten latents; k is within 32
    and n. A handful of forgotten images says little of their own spread and overlaps with nothing.

    Args:
      forget: of all forgotten images.
      retain: of n retained images, drawn at random.
      ratio: forgotten images for each retained one, n_f / n_r, of the whole sets.
    """
    mean, covariance = forget.moments()
    whitening = power(covariance, -0.5)

    def squared_distances(latents: Posteriors) -> jax.Array:
        distances = jnp.square((latents.mean - mean) @ whitening).sum(-1)
        return jnp.where(latents.is_valid, distances, jnp.inf)

    n, distances = retain.size, squared_distances(retain)
    k = jnp.clip(jnp.round(ratio * n).astype(int), min(LEAST_NEIGHBOURS, len(retain.mean)), n)
    nearest = jnp.argsort(distances)
    radius = quantile(squared_distances(forget), 0.9, forget.size)
    within = (distances[nearest] < radius) & (jnp.arange(len(nearest)) < k)
    share = within.sum(dtype=distances.dtype) / k
    return Neighbours(nearest, k, (1 - k / n) / 2 * share)


def quantile(values: jax.Array, q: float, count: Count) -> jax.Array:
    """The q-quantile of the `count` least of `values` `[n]`, as `jnp.quantile` interpolates."""
    place = q * (jnp.asarray(count, values.dtype) - 1)
    low = jnp.floor(place).astype(int)
    below, above = jnp.sort(values)[jnp.stack([low, jnp.minimum(low + 1, count - 1)])]
    return below + (place - low) * (above - below)


def fit_transport(
    forget: Posteriors, retain: Posteriors, neighbours: Neighbours, overshoot: float = 0.0
) -> Transport:
    """The optimal transport from forgotten latents to those of the retained that receive them.

        T z = m_r + o (m_r - m_f) + A (z - m_f),  A = S_f^-1/2 (S_f^1/2 S_r S_f^1/2)^1/2 S_f^-1/2

    m and S are mean and covariance of the two sets, where retained image i counts as a receiver by

        w_i = (1 - a) / n + a [i among the k neighbours] / k

    and o is the overshoot. Without overlap the place of the forgotten is filled with all the
    variety of the retained. But what lies among forgotten latents is dragged along when they are
    sent far away, for a decoder is smooth: there a part of them goes to the neighbours.

    Args:
      forget: of all forgotten images.
      retain: of n retained images, drawn at random.
      neighbours: among these.
      overshoot: o.
    """
    indices, k, weight = neighbours
    origin, covariance = forget.moments()
    near = jnp.where(jnp.arange(len(indices)) < k, weight / k, 0.0)
    weights = jnp.where(retain.is_valid, (1 - weight) / retain.size, 0.0).at[indices].add(near)
    mean, receiving = retain.moments(weights)
    matrix = transport_matrix(covariance, receiving)
    return Transport(origin, mean + overshoot * (mean - origin), matrix)


def transport_matrix(source: jax.Array, target: jax.Array) -> jax.Array:
    """A = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2, the optimal transport from N(0, S) to N(0, R).

    Symmetric, with A S A = R (Gelbrich 1990; Peyre & Cuturi 2019, remark 2.31). Covariances of
    aggregate posteriors are positive definite: each holds the posteriors' own variance.
    """
    root, inverse_root = power(source, 0.5), power(source, -0.5)
    return inverse_root @ power(root @ target @ root, 0.5) @ inverse_root


def power(matrix: jax.Array, exponent: float) -> jax.Array:
    """A power of a symmetric positive definite matrix; eigenvalues from 1e-6 of the largest on."""
    values, vectors = jnp.linalg.eigh(matrix)
    values = jnp.maximum(values, 1e-6 * values[-1])
    return (vectors * values**exponent) @ vectors.T
