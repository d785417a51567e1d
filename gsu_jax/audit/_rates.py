"""What the scores of an attack show: AUC, true positives, and their intervals."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from gsu_jax.audit._clopper_pearson import clopper_pearson, tail_of


class Rate(NamedTuple):
    """An estimate and its interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


class Attack(NamedTuple):
    """Result of `attack_rates`.

    Attributes:
        auc: Signed: 0.5 tells nothing, below 0.5 members look less like members than others do.
        tpr_1_percent: Share of members found where at most 1 % of the others are.
        tpr_01_percent: The same at 0.1 %; NaN with the interval [0, 1] below 1,000 others.
        members: Number of members.
        others: Number of the others.
    """

    auc: Rate
    tpr_1_percent: Rate
    tpr_01_percent: Rate
    members: int
    others: int


def attack_rates(members: ArrayLike, others: ArrayLike, level: float = 0.95) -> Attack:
    r"""AUC and true positive rates of an attack, with intervals over the images.

    The AUC is the share of pairs in which the member has the larger score; ties count half. Its
    interval holds each A that the AUC does not reject (Newcombe's method 5):

    .. math::

        |\mathrm{AUC} - A| \le z \sqrt{\frac{A (1 - A)}{n m}
        \Big[1 + (N - 1) \Big(\frac{1 - A}{2 - A} + \frac{A}{1 + A}\Big)\Big]}, \quad
        N = \frac{n + m}{2}

    The true positive rate at a false positive rate f is the share of members above the score that
    at most f of the others exceed, with the Clopper-Pearson interval at that threshold. The
    intervals count the choice of images. They do not count that of the attacked model: repeat the
    attack on models of other seeds for that. Compare with a retrained model's AUC, not with 0.5,
    unless inclusion was drawn at random.

    Args:
        members: `[n]`, scores of the images that were in training.
        others: `[m]`, scores of the images that were not.
        level: Level of the two-sided intervals.

    Returns:
        An `Attack`.

    Raises:
        ValueError: A group is empty or not a vector, a score is not finite, or the level is not in
            (0, 1).

    Example:
        >>> found = attack_rates([3.0, 2.0, 1.0, 4.0], [0.0, 1.0, 0.5, -1.0])
        >>> found.auc.value, round(found.auc.low, 2), round(found.auc.high, 2)
        (0.96875, 0.55, 1.0)

    References:
        Newcombe, `Confidence intervals for an effect size measure based on the Mann-Whitney
        statistic, part 2 <https://doi.org/10.1002/sim.2324>`_, 2006.
    """
    members, others = check_scores(members, "members"), check_scores(others, "others")
    n, m = len(members), len(others)
    ranked = np.sort(others)
    pairs = np.searchsorted(ranked, members) + np.searchsorted(ranked, members, side="right")
    auc = float(pairs.mean() / (2 * m))
    z = -float(ndtri(tail_of(level)))
    low = _bisect(lambda a: auc - a > z * auc_error(a, n, m), 0.0, auc)
    high = _bisect(lambda a: a - auc <= z * auc_error(a, n, m), auc, 1.0)
    one, tenth = (_true_positives(members, ranked, share, level) for share in (0.01, 0.001))
    return Attack(Rate(auc, low, high), one, tenth, n, m)


def auc_error(a: float, n: int, m: int) -> float:
    """Standard error of the AUC of n against m scores where it is `a`."""
    extra = ((n + m) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
    return math.sqrt(max(a * (1 - a), 0.0) / (n * m) * (1 + extra))


def check_scores(scores: ArrayLike, argument: str) -> np.ndarray:
    """`scores` as a float64 vector of one or more finite numbers, or a ValueError."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(
            f"{argument} must be one or more finite scores [n], got shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} that are not finite"
        )
    return scores


def _true_positives(members: np.ndarray, ranked: np.ndarray, share: float, level: float) -> Rate:
    allowed = math.floor(share * len(ranked) + 1e-9)
    if not allowed:
        return Rate(math.nan, 0.0, 1.0)
    found = int((members > ranked[-1 - allowed]).sum()) if allowed < len(ranked) else len(members)
    return Rate(found / len(members), *clopper_pearson(found, len(members), level))


def _bisect(left_of: Callable[[float], bool], low: float, high: float) -> float:
    """Where `left_of` turns from true to false between `low` and `high`."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if left_of(middle) else (low, middle)
    return high
