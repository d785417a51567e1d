"""Frechet distance between Gaussians fitted to features (FID)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class GaussianFit(NamedTuple):
    """Mean `[d]` and unbiased covariance `[d, d]` of `n` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int


def fit_gaussian(features: ArrayLike) -> GaussianFit:
    """Fits a Gaussian to `features` `[n, d]`, in float64.

    Raises:
      ValueError: fewer than two vectors, or a feature that is not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise ValueError(f"features must be [n, d] with n >= 2, found shape {features.shape}.")
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"features has {np.count_nonzero(~finite)} of {len(features)} vectors that are not "
            "finite: the model that drew the samples has diverged, or the extractor has."
        )
    mean = features.mean(axis=0)
    centred = features - mean
    return GaussianFit(mean, centred.T @ centred / (len(features) - 1), len(features))


def frechet_distance(a: GaussianFit, b: GaussianFit) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson and Landau 1982).

    |m_a - m_b|^2 + tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2, in float64. The last trace is the sum of
    the singular values of A^1/2 B^1/2, the roots of the eigenvalues: no matrix root of a product
    that is not symmetric, no complex part, and no squaring that would turn the rounding 1e-16 of
    the singular covariances of ReLU features into 1e-8.

    The value depends on the features and, by its bias, on both n: name the extractor and the
    reference set next to it.

    Raises:
      ValueError: the fits have different widths.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"a and b must be fitted to the same features, found widths {a.mean.shape[0]} and "
            f"{b.mean.shape[0]}."
        )
    roots = _symmetric_root(a.covariance) @ _symmetric_root(b.covariance)
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(a.covariance + b.covariance) - 2 * overlap
    return float(max(distance, 0.0))


def _symmetric_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
