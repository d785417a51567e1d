"""Coverage and density: a collapsed model cannot score well on both."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

# 1,000 x 10,000 float64 distances are 80 MB at a time.
_ROWS = 1000


def coverage_density(
    real: ArrayLike, fake: ArrayLike, k: int = 5, *, radii: np.ndarray | None = None
) -> tuple[float, float]:
    """Coverage and density of `fake` among `real` (Naeem et al. 2020).

    B_i is the closed ball around real vector i that reaches its k-th nearest other real vector.
    Coverage is the share of balls that hold at least one fake vector. Density is the mean number of
    balls that hold a fake vector, over k. Both are near 1 for two sets of one distribution, and
    density can exceed 1. Exact, in float64.

    Args:
        real: `[n, d]` features of reference images, n > k.
        fake: `[m, d]` features of samples.
        k: Which neighbor sets the radius.
        radii: `neighbor_radii(real, k)`, if many sets are compared with one reference.

    Returns:
        `(coverage, density)`.

    Raises:
        ValueError: The shapes do not fit, n <= k, or features are not finite.

    Example:
        >>> real = [[0.0], [1.0], [2.0], [3.0]]
        >>> coverage_density(real, [[0.5], [1.5]], k=1)
        (0.75, 2.0)

    References:
        Naeem et al., `Reliable Fidelity and Diversity Metrics for Generative Models
        <https://arxiv.org/abs/2002.09797>`_, 2020.
    """
    real, fake = _checked(real, "real"), _checked(fake, "fake")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real and fake must be the same features, got widths {real.shape[1]} and "
            f"{fake.shape[1]}"
        )
    if radii is None:
        radii = neighbor_radii(real, k)
    elif np.shape(radii) != (len(real),):
        raise ValueError(
            f"radii must be [{len(real)}], one for each real vector, got {np.shape(radii)}"
        )
    squared_radii = np.square(radii)
    covered = np.zeros(len(real), bool)
    memberships = 0
    for squared_distances in _squared_distances(fake, real):
        inside = squared_distances <= squared_radii
        covered |= inside.any(axis=0)
        memberships += np.count_nonzero(inside)
    return float(covered.mean()), float(memberships / (k * len(fake)))


def neighbor_radii(real: ArrayLike, k: int = 5) -> np.ndarray:
    """Distance of each real vector to its k-th nearest other real vector.

    Rounded up by 1e-6 of the vector's distance to the mean. Without this, rounding errors put exact
    copies outside a ball of radius zero.

    Args:
        real: `[n, d]` features, n > k.
        k: Which neighbor.

    Returns:
        `[n]` float64.

    Raises:
        ValueError: k is not in 1..n - 1, or features are not finite.

    Example:
        >>> neighbor_radii([[0.0], [1.0], [3.0]], k=1).round(3).tolist()
        [1.0, 1.0, 2.0]
    """
    real = _checked(real, "real")
    if not 1 <= k < len(real):
        raise ValueError(
            f"k must be between 1 and one less than the {len(real)} real vectors, got {k}; "
            "give more reference images or a smaller k"
        )
    # Index 0 of the sorted distances is the vector itself.
    nearest = [np.partition(rows, k, axis=1)[:, k] for rows in _squared_distances(real, real)]
    norms = np.square(real - real.mean(axis=0)).sum(axis=1)
    return np.sqrt(np.maximum(np.concatenate(nearest), 0.0) + 1e-12 * norms)


def _squared_distances(rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """Yields squared distances of a block of `rows` to all of `columns`."""
    # Centered, because |x|^2 + |y|^2 - 2 x.y cancels if features are far from the origin.
    center = columns.mean(axis=0)
    rows, columns = rows - center, columns - center
    column_norms = np.square(columns).sum(axis=1)
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        squared = block @ (-2.0 * columns.T)
        squared += np.square(block).sum(axis=1)[:, None]
        squared += column_norms
        yield squared


def _checked(features: ArrayLike, name: str) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not len(features):
        raise ValueError(f"{name} must be [n, d] with n >= 1, got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} has features that are not finite")
    return features
