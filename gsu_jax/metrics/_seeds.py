"""Statistics over a few seeds: intervals of the mean, and the position in an ensemble.

Three to ten seeds are few. Each function says what it can show with so few, and
`docs/guide/metrics.md` reports measured coverage. Everything is float64.
"""

import math
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, ndtr, stdtrit


class Interval(NamedTuple):
    """A closed interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


class Position(NamedTuple):
    """Where values lie in an ensemble; each field has the shape of the values.

    Attributes:
        z: Distance from the ensemble's mean, in standard errors of one more model.
        inside: Whether the prediction interval holds the value.
        ratio: The value over the ensemble's mean.
    """

    z: Any
    inside: Any
    ratio: Any


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean over seeds, with wider tails for few seeds.

    The plain percentile interval is too narrow: by sqrt((n - 1) / n), and because it uses the
    normal quantile in place of Student's. At n = 5 its 95 % cover 84 %. Hesterberg's correction
    cuts off tails of

        alpha = Phi(-sqrt(n / (n - 1)) t_{n-1, (1 + level) / 2})

    in place of (1 - level) / 2; at n = 5 this is 0.1 % per side. BCa does not help, because it
    estimates skewness from the same few values and covers no better below n = 10. The interval
    never leaves [min, max]. For n = 2 and 3 it equals [min, max] and covers 50 % and 75 %, so three
    seeds cannot give 95 %.

    If there are at most `resamples` different resamples (n <= 8), all of them are enumerated with
    their probabilities, and nothing is random.

    Args:
        values: `[n]`, n >= 2, one per seed.
        level: Level of the two-sided interval.
        resamples: Number of random resamples, if there are more different ones.
        seed: Seed of the random resamples.

    Returns:
        An `Interval`.

    Raises:
        ValueError: There are fewer than two values, a value is not finite, or the level is not in
            (0, 1).

    Example:
        >>> bootstrap_interval([1.0, 2.0, 4.0])
        Interval(low=1.0, high=4.0)

    References:
        Hesterberg, `What Teachers Should Know About the Bootstrap
        <https://arxiv.org/abs/1411.5279>`_, 2015, section 4.3.
    """
    values = checked(values, "values")
    n = len(values)
    tail = widened_tail(n, level)
    shares, weights = _resamples(n, resamples, seed)
    # Rounding must not move the mean of equal values past them.
    means = np.clip(shares @ values, values.min(), values.max())
    return Interval(quantile(means, weights, tail), -quantile(-means, weights, tail))


def prediction_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Interval in which one more model of the same kind lies: mean +- t_{n-1} s sqrt(1 + 1/n).

    Student's t on n retrained models, which assumes values that are normal over seeds. A share such
    as fratio is not normal near zero, so the lower end can be negative.

    Args:
        values: `[n]`, n >= 2, one per model.
        level: Level of the two-sided interval.

    Returns:
        An `Interval`.

    Raises:
        ValueError: There are fewer than two values, a value is not finite, or the level is not in
            (0, 1).

    Example:
        >>> low, high = prediction_interval([1.0, 2.0, 3.0])
        >>> round(low, 2), round(high, 2)
        (-2.97, 6.97)
    """
    values = checked(values, "values")
    reach = _student(len(values) - 1, level) * _error_of_one_more(values)
    return Interval(float(values.mean() - reach), float(values.mean() + reach))


def position(x: ArrayLike, ensemble: ArrayLike, level: float = 0.95) -> Position:
    """Position of `x`, a method's mean or each of its seeds, in an ensemble of retrained models.

    z = (x - mean) / (s sqrt(1 + 1/n)), whether `prediction_interval` holds x, and x / mean. A mean
    over seeds varies less than one model. So a method as good as retraining is inside more often
    than `level`, and one outside differs more clearly.

    Args:
        x: A value or an array of values.
        ensemble: `[n]`, n >= 2, one per retrained model.
        level: Level of the prediction interval.

    Returns:
        A `Position` of the shape of `x`. If all values of the ensemble are equal, z is 0 or
        infinite. The ratio is NaN unless mean > 0 and x >= 0, because a ratio of negative nats has
        no meaning.

    Raises:
        ValueError: A value is not finite, or the ensemble has fewer than two.

    Example:
        >>> found = position(3.0, [1.0, 2.0, 3.0])
        >>> round(float(found.z), 3), bool(found.inside), float(found.ratio)
        (0.866, True, 1.5)
    """
    x = np.asarray(x, np.float64)
    _check_finite(x, "x")
    ensemble = checked(ensemble, "ensemble")
    low, high = prediction_interval(ensemble, level)
    mean, error = ensemble.mean(), _error_of_one_more(ensemble)
    away = x - mean
    z = away / error if error > 0 else np.where(away == 0, 0.0, np.copysign(np.inf, away))
    ratio = np.where((mean > 0) & (x >= 0), x / (mean if mean > 0 else 1.0), np.nan)
    return Position(*(np.asarray(a)[()] for a in (z, (low <= x) & (x <= high), ratio)))


def separated(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> bool:
    """Whether the bootstrap intervals of two means do not overlap.

    Stricter than a test of the difference: with many seeds, two 95 % intervals that touch mean
    p = 0.006.

    Args:
        a: `[n]`, n >= 2, one per seed.
        b: `[m]`, m >= 2, one per seed.
        level: Level of both intervals.

    Returns:
        True if one interval lies above the other.

    Example:
        >>> separated([1.0, 2.0], [3.0, 4.0])
        True
    """
    one, other = bootstrap_interval(a, level), bootstrap_interval(b, level)
    return one.low > other.high or other.low > one.high


def widened_tail(n: int, level: float) -> float:
    """The tail that `bootstrap_interval` cuts off on each side of the resamples of n values."""
    return float(ndtr(-math.sqrt(n / (n - 1)) * _student(n - 1, level)))


def _error_of_one_more(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(values))


def _student(freedom: int, level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    return float(stdtrit(freedom, (1 + level) / 2))


def quantile(values: np.ndarray, weights: np.ndarray, tail: float) -> float:
    """The smallest value such that a share of at least `tail` is at or below it."""
    order = values.argsort()
    reached = np.searchsorted(weights[order].cumsum(), tail)
    return float(values[order[min(reached, len(order) - 1)]])


@lru_cache(maxsize=32)
def _resamples(n: int, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of each value in each resample [m, n], and the probability [m] of each resample."""
    if math.comb(2 * n - 1, n) > resamples:
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
        return counts / n, np.full(resamples, 1 / resamples)
    drawn = np.array(list(combinations_with_replacement(range(n), n)))
    counts = (drawn[:, :, None] == np.arange(n)).sum(axis=1)
    log_ways = gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)
    return counts / n, np.exp(log_ways - n * math.log(n))


def checked(values: ArrayLike, name: str) -> np.ndarray:
    """`values` as a float64 vector of two or more finite numbers, or a ValueError."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"{name} must be two or more numbers, one per seed, got shape {values.shape}; "
            "run more seeds"
        )
    _check_finite(values, name)
    return values


def _check_finite(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite; leave out diverged seeds")
