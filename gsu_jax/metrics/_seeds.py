"""What a handful of seeds can say: intervals, the place in an ensemble, paired tests.

Three to ten seeds are few. Every function here says what it can and cannot show with so few, and
`docs/statistics.md` has the coverage measured. NumPy and SciPy only; float64 throughout.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, ndtr, stdtrit

EXACT = 15  # pairs up to which a sign-flip test goes through all 2^n of them
YARDSTICKS = ("before", "retrain")  # rows that are no unlearning method
LARGER_IS_BETTER = ("coverage", "density")


class Interval(NamedTuple):
    """Two ends, both belonging to it."""

    low: float
    high: float


class UpperBound(NamedTuple):
    """The upper end of a mean's interval beside the largest value and its index."""

    bound: float
    worst: float
    worst_index: int


class Position(NamedTuple):
    """Where values lie in an ensemble; each field a scalar or an array like the values."""

    z: Any
    inside: Any
    ratio: Any


class PairedTest(NamedTuple):
    """Mean of a - b, its interval, the two-sided p and the number of pairs."""

    difference: float
    low: float
    high: float
    p: float
    n: int


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Interval of the mean over seeds: the percentile bootstrap with Hesterberg's wider tails.

    The plain percentile interval is too narrow by sqrt((n - 1) / n) and by the normal quantile
    where Student's belongs, which at n = 5 turns 95 % into 84 %. So the tails cut off are

        alpha = Phi(-sqrt(n / (n - 1)) t_{n-1, (1 + level) / 2})

    (Hesterberg 2015, "What teachers should know about the bootstrap", section 4.3) rather than
    (1 - level) / 2: at n = 5 0.1 % a side. BCa is no way out: it takes its skewness from those
    few values and covers no better below n = 10. The ends never leave [min, max], which for
    n = 2 and 3 is the interval, and covers 50 % and 75 %: three seeds cannot give 95 %.

    Where there are no more than `resamples` different resamples (n <= 8) all of them are taken,
    each with its probability, and nothing is random.

    Args:
      values: [n], n >= 2, one a seed.
      level: of the two-sided interval.
      resamples: drawn with `seed` where all of them would be more.
      seed: of those draws.

    Raises:
      ValueError: fewer than two values, a value that is not finite, a level outside (0, 1).
    """
    values = _checked(values, "values")
    n = len(values)
    tail = ndtr(-math.sqrt(n / (n - 1)) * _student(n - 1, level))
    shares, weights = _resamples(n, resamples, seed)
    # Rounding must not carry the mean of equal values past them.
    means = np.clip(shares @ values, values.min(), values.max())
    return Interval(_quantile(means, weights, tail), -_quantile(-means, weights, tail))


def upper_bound(values: ArrayLike, level: float = 0.95) -> UpperBound:
    """The upper end of the two-sided `bootstrap_interval`, beside the worst (largest) seed.

    That end is exceeded with probability (1 - level) / 2, not 1 - level: the stricter of the two
    things that "95 % upper bound" can mean. It bounds the mean over seeds; `worst` is there
    because a mean hides one seed that failed.
    """
    values = _checked(values, "values")
    worst = int(values.argmax())
    return UpperBound(bootstrap_interval(values, level).high, float(values[worst]), worst)


def prediction_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Where ONE more model of the same kind lies: mean +- t_{n-1} s sqrt(1 + 1/n).

    Student's t on n retrained models, taken as normal over seeds. A share such as fratio is not
    normal near zero, so its lower end can be negative: nothing lies below such an interval.

    Raises:
      ValueError: fewer than two values, a value that is not finite, a level outside (0, 1).
    """
    values = _checked(values, "values")
    reach = _student(len(values) - 1, level) * _error_of_one_more(values)
    return Interval(float(values.mean() - reach), float(values.mean() + reach))


def position(x: ArrayLike, ensemble: ArrayLike, level: float = 0.95) -> Position:
    """Where `x`, a method's mean or each of its seeds, lies in an ensemble of retrained models.

    z = (x - mean) / (s sqrt(1 + 1/n)), inside `prediction_interval` or not, and x / mean. A mean
    over seeds scatters less than one model, so a method that is as good as retraining is inside
    more often than `level`; one that is outside is so on better grounds.

    Returns:
      Position of the shape of `x`. Where all of the ensemble are equal z is 0 or infinite. The
      ratio is NaN unless mean > 0 and x >= 0: one of negative nats says nothing.
    """
    x = np.asarray(x, np.float64)
    _check_finite(x, "x")
    ensemble = _checked(ensemble, "ensemble")
    low, high = prediction_interval(ensemble, level)
    mean, error = ensemble.mean(), _error_of_one_more(ensemble)
    away = x - mean
    z = away / error if error > 0 else np.where(away == 0, 0.0, np.copysign(np.inf, away))
    ratio = np.where((mean > 0) & (x >= 0), x / (mean if mean > 0 else 1.0), np.nan)
    return Position(*(np.asarray(a)[()] for a in (z, (low <= x) & (x <= high), ratio)))


def paired_test(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> PairedTest:
    """Exact sign-flip permutation test of a - b, paired over seeds (Fisher 1935).

    If neither is better, each difference d_i could as well be -d_i: p is the share of the 2^n
    flips whose |sum| is at least the observed one. The smallest p is therefore 2 / 2^n: 2/8 with
    3 seeds, 2/32 = 0.0625 with 5, 2/1024 with 10; five seeds cannot reach 0.05. Above 15 pairs
    10,000 random flips stand in, the observed one counted in.

    Args:
      a: [n], n >= 2, by seed.
      b: [n], the same seeds in the same order.
      level: of the bootstrap interval of the mean difference.

    Raises:
      ValueError: other lengths, fewer than two pairs, values that are not finite.
    """
    a, b = _checked(a, "a"), _checked(b, "b")
    if len(a) != len(b):
        raise ValueError(
            f"a and b must have one value a seed each, found {len(a)} and {len(b)}; "
            "keep the seeds that both have."
        )
    d = a - b
    sums = np.abs(_signs(len(d)) @ d)
    # Flips that tie but for rounding count as ties.
    p = (sums >= abs(d.sum()) - 1e-12 * np.abs(d).sum()).mean()
    return PairedTest(float(d.mean()), *bootstrap_interval(d, level), float(p), len(d))


def separated(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> bool:
    """Whether the bootstrap intervals of the two means do not overlap.

    Stricter than a test of the difference: with many seeds, two 95 % intervals that touch are a
    difference of p = 0.006.
    """
    one, other = bootstrap_interval(a, level), bootstrap_interval(b, level)
    return one.low > other.high or other.low > one.high


def best(rows: Sequence[dict], metric: str, *, larger: bool | None = None) -> str | None:
    """The method whose interval lies apart from every other's on the better side, or None.

    Candidates are the unlearning methods (not before, not retrain) of which no seed diverged:
    the survivors of one that sometimes diverges are chosen by luck. A candidate with one seed has
    no interval, so nothing is best beside it.

    Args:
      rows: as in results.json.
      metric: a key of the rows.
      larger: whether more is better; None takes it from the metric (coverage, density).
    """
    larger = metric in LARGER_IS_BETTER if larger is None else larger
    methods = dict.fromkeys(row["method"] for row in rows)
    lost = {row["method"] for row in rows if row.get("diverged")}
    values = {m: [*by_seed(rows, m, metric).values()] for m in methods}
    known = {m: v for m, v in values.items() if v and m not in lost and m not in YARDSTICKS}
    if len(known) < 2 or min(map(len, known.values())) < 2:
        return None
    sign = -1 if larger else 1
    first = min(known, key=lambda m: sign * np.mean(known[m]))
    rivals = [v for m, v in known.items() if m != first]
    return first if all(separated(known[first], rival) for rival in rivals) else None


def by_seed(rows: Sequence[dict], method: str, metric: str) -> dict[Any, float]:
    """The values of a method by seed, of its rows that did not diverge and have a finite one."""
    found = {
        row.get("seed"): row.get(metric)
        for row in rows
        if row["method"] == method and not row.get("diverged")
    }
    return {s: float(v) for s, v in found.items() if v is not None and math.isfinite(v)}


def _error_of_one_more(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(values))


def _student(freedom: int, level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, found {level}.")
    return float(stdtrit(freedom, (1 + level) / 2))


def _quantile(values: np.ndarray, weights: np.ndarray, tail: float) -> float:
    """The smallest value at or below which lies a share of at least `tail`."""
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


@lru_cache(maxsize=16)
def _signs(n: int) -> np.ndarray:
    if n <= EXACT:
        return np.array(list(product((1.0, -1.0), repeat=n)))
    flips = np.random.default_rng(0).choice([1.0, -1.0], size=(9_999, n))
    return np.concatenate([np.ones((1, n)), flips])


def _checked(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"{name} must be two or more numbers, one a seed, found shape {values.shape}; "
            "run more seeds."
        )
    _check_finite(values, name)
    return values


def _check_finite(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite; leave out diverged seeds.")
