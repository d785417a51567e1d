"""The exact interval of a share."""

from scipy.special import betaincinv

from gsu_jax import checks
from gsu_jax.metrics import Interval


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval of a share of which k of n are seen.

    The lower end is the (1 - level) / 2 quantile of Beta(k, n - k + 1), the upper end the mirrored
    quantile of Beta(k + 1, n - k). It covers at least `level`. None of n gives an upper end of
    about 3.7 / n at 95 %.

    Args:
        k: Successes.
        n: Trials, at least 1.
        level: Level of the two-sided interval, in (0, 1).

    Returns:
        An `Interval` in [0, 1].

    Raises:
        ValueError: k is not in 0..n, n is below 1, or the level is not in (0, 1).

    Example:
        >>> low, high = clopper_pearson(0, 100)
        >>> low, round(high, 4)
        (0.0, 0.0362)

    References:
        Clopper & Pearson, `The use of confidence or fiducial limits
        <https://doi.org/10.1093/biomet/26.4.404>`_, 1934.
    """
    checks.at_least(1, n=n)
    if not 0 <= k <= n:
        raise ValueError(f"k must be in 0..n, got {k} of {n}")
    tail = tail_of(level)
    return Interval(
        float(betaincinv(k, n - k + 1, tail)) if k else 0.0,
        float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0,
    )


def tail_of(level: float) -> float:
    """The share that a two-sided interval of `level` leaves out on each side."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    return (1 - level) / 2
