"""Lower bounds of epsilon: what an attack proves about the game of removal."""

import math

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.audit._clopper_pearson import clopper_pearson
from gsu_jax.audit._rates import check_scores


def epsilon_lower_bound(
    true_positives: tuple[int, int],
    false_positives: tuple[int, int],
    delta: float = 0.0,
    level: float = 0.95,
) -> float:
    r"""The least epsilon that an attack's counts allow, with confidence `level`.

    .. math::

        \varepsilon = \max\Big(0, \ln \frac{\underline{\mathrm{TPR}} - \delta}
        {\overline{\mathrm{FPR}}}\Big)

    with the ends of both Clopper-Pearson intervals. For an unlearned model U and a retrained R it
    bounds P(U in S) <= e^epsilon P(R in S) + delta, the game of removal, not of training. Perfect
    separation of n against n proves about ln(n / 3.7). The threshold of the attack must not come
    from the same counts: `split_epsilon` takes it from others.

    Args:
        true_positives: `(k, n)`, the attack finds k of n members.
        false_positives: `(k, n)`, it takes k of n others for members.
        delta: In [0, 1).
        level: Level of both bounds together.

    Returns:
        Epsilon, 0 or above.

    Raises:
        ValueError: A count is not in 0..n, or `delta` or `level` is out of range.

    Example:
        >>> round(epsilon_lower_bound((64, 64), (0, 64)), 2)
        2.82

    References:
        Jagielski et al., `Auditing Differentially Private Machine Learning
        <https://arxiv.org/abs/2006.07709>`_, 2020.
    """
    checks.in_range(0, 1, delta=delta)
    true = clopper_pearson(*true_positives, level).low - delta
    false = clopper_pearson(*false_positives, level).high
    return math.log(true / false) if true > false else 0.0


def split_epsilon(
    members: ArrayLike,
    others: ArrayLike,
    delta: float = 0.0,
    level: float = 0.95,
    seed: int = 0,
) -> float:
    """`epsilon_lower_bound` at a threshold and a side that half of the scores choose.

    One random half of both groups chooses the threshold, and whether to call the scores above it or
    those below it members, for the largest bound. The other half is counted.

    Args:
        members: `[n]`, n >= 2, scores of members, or of unlearned models.
        others: `[m]`, m >= 2, scores of the others, or of retrained models.
        delta: In [0, 1).
        level: Level of the bound.
        seed: Seed of the halves.

    Returns:
        Epsilon, 0 or above.

    Raises:
        ValueError: A group has fewer than two scores or one that is not finite, or `delta` or
            `level` is out of range.

    Example:
        >>> members, others = np.arange(100) + 1000.0, np.arange(100.0)
        >>> round(split_epsilon(members, others), 2)
        2.57

    References:
        Nasr et al., `Tight Auditing of Differentially Private Machine Learning
        <https://arxiv.org/abs/2302.07956>`_, 2023.
    """
    rng = np.random.default_rng(seed)
    halves = []
    for argument, group in {"members": members, "others": others}.items():
        scores = rng.permutation(check_scores(group, argument))
        if len(scores) < 2:
            raise ValueError(f"{argument} must be two or more scores, got 1")
        halves.append((scores[: len(scores) // 2], scores[len(scores) // 2 :]))
    (known_in, counted_in), (known_out, counted_out) = halves

    def bound(inside: np.ndarray, outside: np.ndarray, threshold: float, sign: float) -> float:
        counts = [
            (int((sign * group > sign * threshold).sum()), len(group))
            for group in (inside, outside)
        ]
        return epsilon_lower_bound(*counts, delta=delta, level=level)

    values = np.unique(np.concatenate([known_in, known_out]))
    middles = np.append((values[1:] + values[:-1]) / 2, values[0] - 1)
    candidates = [(threshold, sign) for sign in (1.0, -1.0) for threshold in middles]
    best = max(candidates, key=lambda candidate: bound(known_in, known_out, *candidate))
    return bound(counted_in, counted_out, *best)
