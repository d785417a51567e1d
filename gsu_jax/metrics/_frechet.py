"""Frechet distance between Gaussians fitted to features (FID)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class GaussianFit(NamedTuple):
    """A Gaussian fitted to feature vectors, in float64.

    Attributes:
        mean: `[d]`.
        covariance: `[d, d]`, unbiased.
        n: Number of vectors.
    """

    mean: np.ndarray
    covariance: np.ndarray
    n: int


def fit_gaussian(features: ArrayLike) -> GaussianFit:
    """Fits a Gaussian to feature vectors, in float64.

    Args:
        features: `[n, d]`, n >= 2.

    Returns:
        A `GaussianFit`.

    Raises:
        ValueError: There are fewer than two vectors, or a feature is not finite.

    Example:
        >>> fit_gaussian([[0.0], [2.0]]).covariance.tolist()
        [[2.0]]
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise ValueError(f"features must be [n, d] with n >= 2, got shape {features.shape}")
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"features has {np.count_nonzero(~finite)} of {len(features)} vectors that are not "
            "finite: the model that drew the samples or the extractor has diverged"
        )
    mean = features.mean(axis=0)
    centered = features - mean
    return GaussianFit(mean, centered.T @ centered / (len(features) - 1), len(features))


def frechet_distance(a: GaussianFit, b: GaussianFit) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians, in float64.

    |m_a - m_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2. The last trace is the sum of the
    singular values of A^1/2 B^1/2. So there is no root of a product that is not symmetric, no
    complex part, and no square that turns the rounding error 1e-16 of the singular covariances of
    ReLU features into 1e-8.

    The value depends on the features and, by its bias, on both n. Report the extractor and the
    reference set with it.

    Args:
        a: One fit.
        b: The other, of the same features.

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: The fits have different widths.

    Example:
        >>> frechet_distance(fit_gaussian([[0.0], [2.0]]), fit_gaussian([[3.0], [5.0]]))
        9.0

    References:
        Dowson & Landau, `The Fréchet distance between multivariate normal distributions
        <https://doi.org/10.1016/0047-259X(82)90077-X>`_, 1982.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"a and b must be fitted to the same features, got widths {a.mean.shape[0]} and "
            f"{b.mean.shape[0]}"
        )
    roots = _symmetric_root(a.covariance) @ _symmetric_root(b.covariance)
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(a.covariance + b.covariance) - 2 * overlap
    return float(max(distance, 0.0))


def _symmetric_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
