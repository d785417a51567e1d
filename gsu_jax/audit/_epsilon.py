"""Lower bounds of epsilon from the scores of an attack, by jax-privacy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.audit._clopper_pearson import tail_of
from gsu_jax.audit._rates import check_scores


class EpsilonBounds(NamedTuple):
    """Two bounds of the same scores, each 0 or above.

    Attributes:
        clopper_pearson: From exact intervals of both rates at one threshold.
        one_run: For one training in which a fair coin decided for each image; of the larger group
            as many scores are drawn as the smaller one has.
    """

    clopper_pearson: float
    one_run: float


def epsilon_bounds(
    members: ArrayLike,
    others: ArrayLike,
    delta: float = 1e-5,
    level: float = 0.95,
    seed: int = 0,
) -> EpsilonBounds:
    r"""What an attack's scores prove: epsilon is at least this, with confidence `level`.

    .. math::

        P(U \in S) \le e^\varepsilon P(R \in S) + \delta

    for all S, where U and R are the scores of the two groups: of an unlearned and a retrained model
    it is the game of removal, not of training. Half of the scores choose the threshold, and the
    others are counted. Scores above a threshold are tried as members, and those below it, each at
    half of the error. Needs the extra `audit`.

    Args:
        members: `[n]`, n >= 2, scores of members, or of unlearned models.
        others: `[m]`, m >= 2, scores of the others, or of retrained models.
        delta: In (0, 1); `one_run` needs it far below 1 / (n + m).
        level: Level of each bound.
        seed: Seed of the halves.

    Returns:
        `EpsilonBounds`.

    Raises:
        ImportError: jax-privacy is not installed.
        ValueError: A group has fewer than two scores or one that is not finite, or `delta` or
            `level` is out of range.

    Example:
        >>> bounds = epsilon_bounds(range(1000, 1100), range(100))
        >>> round(bounds.clopper_pearson, 1)
        2.3

    References:
        Nasr et al., `Adversary Instantiation: Lower Bounds for Differentially Private Machine
        Learning <https://arxiv.org/abs/2101.04535>`_, 2021; Steinke et al., `Privacy
        Auditing with One (1) Training Run <https://arxiv.org/abs/2305.08846>`_, 2023. Both are
        computed by `jax_privacy.auditing.CanaryScoreAuditor`.
    """
    checks.between(0, 1, delta=delta)
    groups = {"members": members, "others": others}
    scores = [check_scores(group, argument) for argument, group in groups.items()]
    for argument, group in zip(groups, scores, strict=True):
        if len(group) < 2:
            raise ValueError(f"{argument} must be two or more scores, got 1")
    auditing = checks.import_extra(
        "jax_privacy.auditing", "jax-privacy", "gsu_jax.audit.epsilon_bounds", extra="audit"
    )
    error = tail_of(level)  # of each side
    auditor, halves = auditing.CanaryScoreAuditor, auditing.Split(seed=seed)

    def largest(bound: Callable[..., float], groups: list[np.ndarray]) -> float:
        sides = [auditor(*(sign * each for each in groups)) for sign in (1, -1)]
        return float(max(bound(side, error, delta, threshold_strategy=halves) for side in sides))

    rng, size = np.random.default_rng(seed), min(map(len, scores))
    even = [rng.permutation(each)[:size] for each in scores]
    return EpsilonBounds(
        largest(auditor.epsilon_clopper_pearson, scores), largest(auditor.epsilon_one_run, even)
    )
