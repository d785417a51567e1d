"""fratio: the share of samples that the judge assigns to the forgotten class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv


class FeatureRatio(NamedTuple):
    """A share of samples and its bound.

    Attributes:
        ratio: `count / n`.
        upper95: One-sided 95 % upper confidence bound of the share.
        count: Samples of the forgotten class.
        n: All samples.
    """

    ratio: float
    upper95: float
    count: int
    n: int


Feature = int | Sequence[int]  # a class of the judge, or several


def feature_ratio(predicted: ArrayLike, feature: Feature) -> FeatureRatio:
    """Share of samples that the judge assigns to the forgotten class, with its upper bound.

    The bound is exact for a binomial count k of n: the p at which P(K <= k) = 0.05, which is the
    0.95 quantile of Beta(k + 1, n - k). A count of 0 proves no more than p <= 1 - 0.05^(1/n), which
    is 0.0003 for 10,000 samples.

    Args:
        predicted: `[n]` integers, the judge's most probable class of each sample.
        feature: The judge's index of the forgotten class, or those of several.

    Returns:
        A `FeatureRatio`.

    Raises:
        TypeError: `predicted` does not hold integers.
        ValueError: `predicted` is empty or not a vector.

    Example:
        >>> found = feature_ratio([0, 1, 2, 1], 1)
        >>> found.ratio, round(found.upper95, 3)
        (0.5, 0.902)

    References:
        Clopper & Pearson, `The use of confidence or fiducial limits
        <https://doi.org/10.1093/biomet/26.4.404>`_, 1934.
    """
    predicted = np.asarray(predicted)
    if predicted.ndim != 1 or not predicted.size:
        raise ValueError(
            f"predicted must be [n] class indices with n >= 1, got shape {predicted.shape}"
        )
    if not np.issubdtype(predicted.dtype, np.integer):
        raise TypeError(
            f"predicted must be integer class indices, got {predicted.dtype}; "
            "take logits.argmax(axis=1), or use mean_probability"
        )
    n = predicted.size
    count = int(np.count_nonzero(np.isin(predicted, feature)))
    upper95 = 1.0 if count == n else float(betaincinv(count + 1, n - count, 0.95))
    return FeatureRatio(count / n, upper95, count, n)


def mean_probability(log_probabilities: ArrayLike, feature: Feature) -> float:
    """Mean probability E p(y = feature | x) of the forgotten class, or of any of several.

    It moves with samples that the judge leaves near one half. A count of hard predictions does not.

    Args:
        log_probabilities: `[n, classes]`, log p(y|x) of each sample in nats.
        feature: The judge's index of the forgotten class, or those of several.

    Returns:
        The mean over samples.

    Raises:
        ValueError: `log_probabilities` is not `[n, classes]`, or `feature` is not a column of it.

    Example:
        >>> round(mean_probability(np.log([[0.6, 0.4], [0.8, 0.2]]), 1), 6)
        0.3
    """
    log_probabilities = np.asarray(log_probabilities, np.float64)
    if log_probabilities.ndim != 2 or not len(log_probabilities):
        raise ValueError(
            "log_probabilities must be [n, classes] with n >= 1, "
            f"got shape {log_probabilities.shape}"
        )
    classes = log_probabilities.shape[1]
    features = np.atleast_1d(feature)
    if features.min() < 0 or features.max() >= classes:
        raise ValueError(f"feature must be in 0..{classes - 1}, got {feature}")
    return float(np.exp(log_probabilities[:, features]).sum(axis=1).mean())
