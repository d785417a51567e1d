"""fratio: how often a model still draws what it was to forget, as a judge sees it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv


class FeatureRatio(NamedTuple):
    """`ratio` = `count` / `n`, and its one-sided 95 % upper confidence bound `upper95`."""

    ratio: float
    upper95: float
    count: int
    n: int


def feature_ratio(predicted: ArrayLike, feature: int) -> FeatureRatio:
    """Share of samples that the judge gives the removed feature, with its upper bound.

    The bound is Clopper and Pearson's (1934), exact for a binomial count k of n: the p at which
    P(K <= k) = 0.05, that is the 0.95 quantile of Beta(k + 1, n - k). A clean sheet (k = 0) proves
    no more than p <= 1 - 0.05^(1/n), which is 0.0003 for 10,000 samples.

    Args:
      predicted: `[n]` integers, the judge's most probable class of each sample.
      feature: the judge's index of the removed class.

    Raises:
      TypeError: `predicted` is not of integers.
      ValueError: `predicted` is empty or not a vector.
    """
    predicted = np.asarray(predicted)
    if predicted.ndim != 1 or not predicted.size:
        raise ValueError(
            f"predicted must be [n] class indices with n >= 1, found shape {predicted.shape}."
        )
    if not np.issubdtype(predicted.dtype, np.integer):
        raise TypeError(
            f"predicted must be integer class indices, found {predicted.dtype}; "
            "take logits.argmax(axis=1), or use mean_probability."
        )
    n = predicted.size
    count = int(np.count_nonzero(predicted == feature))
    upper95 = 1.0 if count == n else float(betaincinv(count + 1, n - count, 0.95))
    return FeatureRatio(count / n, upper95, count, n)


def mean_probability(log_probabilities: ArrayLike, feature: int) -> float:
    """Mean probability of the removed feature: the other reading of fratio.

    E p(y = feature | x), from `log_probabilities` `[n, classes]` in nats. It moves with samples
    that a two-class judge leaves near one half, which a count of hard predictions hides.

    Raises:
      ValueError: `log_probabilities` is not `[n, classes]`, or `feature` is not one of its columns.
    """
    log_probabilities = np.asarray(log_probabilities, np.float64)
    if log_probabilities.ndim != 2 or not len(log_probabilities):
        raise ValueError(
            "log_probabilities must be [n, classes] with n >= 1, "
            f"found shape {log_probabilities.shape}."
        )
    classes = log_probabilities.shape[1]
    if not 0 <= feature < classes:
        raise ValueError(f"feature must be in 0..{classes - 1}, found {feature}.")
    return float(np.exp(log_probabilities[:, feature]).mean())
