"""Which share of a gap unlearning leaves open."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax.metrics._seeds import checked, quantile, widened_tail


class ResidualShare(NamedTuple):
    """A residual share and its interval.

    Attributes:
        rho: 0 at the level of retraining, 1 at that of the model before; below 0 if over-forgotten.
        low: Lower end of the interval, -inf if the gap is not clear of zero.
        high: Upper end of the interval, inf if the gap is not clear of zero.
        n: Number of pairs.
    """

    rho: float
    low: float
    high: float
    n: int


def residual_share(
    unlearned: ArrayLike,
    before: ArrayLike,
    retrained: ArrayLike,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> ResidualShare:
    """Residual share rho = (mean unlearned - mean R) / (mean before - mean R) of a figure.

    The bootstrap resamples the pairs (unlearned, before) of a seed together, and the retrained
    models R apart from them. It cuts off the tails of `bootstrap_interval`, for the smaller of the
    two groups. If before - R changes its sign among the resamples, the seeds do not show that there
    was a gap, and the interval is unbounded.

    Args:
        unlearned: `[n]`, n >= 2, the figure of each seed's model after unlearning.
        before: `[n]`, of the same seeds' models before, in the same order.
        retrained: `[m]`, m >= 2, of the retrained models.
        level: Level of the two-sided interval.
        resamples: Number of random resamples.
        seed: Seed of the random resamples.

    Returns:
        A `ResidualShare`.

    Raises:
        ValueError: The lengths differ, there are fewer than two values, a value is not finite, or
            the level is not in (0, 1).

    Example:
        >>> found = residual_share([-22.4, -22.6], [-20.0, -20.1], [-24.6, -24.4, -24.5])
        >>> round(found.rho, 2), round(found.low, 2), round(found.high, 2)
        (0.45, 0.42, 0.48)
    """
    unlearned, before = checked(unlearned, "unlearned"), checked(before, "before")
    retrained = checked(retrained, "retrained")
    n, m = len(unlearned), len(retrained)
    if len(before) != n:
        raise ValueError(
            f"unlearned and before must have one value per seed each, got {n} and {len(before)}; "
            "keep the seeds that both have"
        )
    tail = widened_tail(min(n, m), level)
    rng = np.random.default_rng(seed)
    pairs = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    base = rng.multinomial(m, np.full(m, 1 / m), size=resamples) / m @ retrained
    gap, drawn = before.mean() - retrained.mean(), pairs @ before - base
    rho = float((unlearned.mean() - retrained.mean()) / gap) if gap else float("nan")
    if not gap or (drawn * gap <= 0).any():
        return ResidualShare(rho, -np.inf, np.inf, n)
    shares, weights = (pairs @ unlearned - base) / drawn, np.full(resamples, 1 / resamples)
    low, high = quantile(shares, weights, tail), -quantile(-shares, weights, tail)
    return ResidualShare(rho, low, high, n)
