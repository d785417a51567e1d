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

    With B_i the closed ball around real vector i that reaches its k-th nearest other real one:
    coverage is the share of balls that hold at least one fake vector, density the mean number of
    balls a fake vector lies in, over k. Both are near 1 for two sets of one distribution; density
    may pass 1. Exact, in float64.

    Args:
      real: `[n, d]` features of reference images, n > k.
      fake: `[m, d]` features of samples.
      k: which neighbour sets the radius.
      radii: `neighbour_radii(real, k)`, where many sets are held against one reference.

    Raises:
      ValueError: shapes that do not fit, n <= k, or features that are not finite.
    """
    real, fake = _checked(real, "real"), _checked(fake, "fake")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real and fake must be the same features, found widths {real.shape[1]} and "
            f"{fake.shape[1]}."
        )
    if radii is None:
        radii = neighbour_radii(real, k)
    elif np.shape(radii) != (len(real),):
        raise ValueError(
            f"radii must be [{len(real)}], one for each real vector, found {np.shape(radii)}."
        )
    squared_radii = np.square(radii)
    covered = np.zeros(len(real), bool)
    memberships = 0
    for squared_distances in _squared_distances(fake, real):
        inside = squared_distances <= squared_radii
        covered |= inside.any(axis=0)
        memberships += np.count_nonzero(inside)
    return float(covered.mean()), float(memberships / (k * len(fake)))


def neighbour_radii(real: ArrayLike, k: int = 5) -> np.ndarray:
    """Distance `[n]` of each of the `real` vectors `[n, d]` to its k-th nearest other one.

    Rounded up by 1e-6 of the vector's distance to the mean of all, so that exact copies, whose
    distances are rounding errors, lie within a radius of zero.

    Raises:
      ValueError: n <= k, k < 1, or features that are not finite.
    """
    real = _checked(real, "real")
    if not 1 <= k < len(real):
        raise ValueError(
            f"k must be between 1 and one less than the {len(real)} real vectors, found {k}; "
            "give more reference images or a smaller k."
        )
    # Place 0 of the sorted distances is the vector itself.
    nearest = [np.partition(rows, k, axis=1)[:, k] for rows in _squared_distances(real, real)]
    norms = np.square(real - real.mean(axis=0)).sum(axis=1)
    return np.sqrt(np.maximum(np.concatenate(nearest), 0.0) + 1e-12 * norms)


def _squared_distances(rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances of `rows` to all of `columns`, some rows at a time."""
    # Centred, because |x|^2 + |y|^2 - 2 x.y cancels where features stand far from the origin.
    centre = columns.mean(axis=0)
    rows, columns = rows - centre, columns - centre
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
        raise ValueError(f"{name} must be [n, d] with n >= 1, found shape {features.shape}.")
    if not np.isfinite(features).all():
        raise ValueError(f"{name} has features that are not finite.")
    return features
