"""What a number of images can show."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from gsu_jax import checks
from gsu_jax.audit._clopper_pearson import tail_of
from gsu_jax.audit._rates import auc_error


def attack_power(shift: float, members: int, others: int, level: float = 0.95) -> float:
    """The chance that the AUC's interval excludes 0.5, if members' scores are larger by a shift.

    Scores are normal of one variance, and the errors of the AUC those of `attack_rates`.

    Args:
        shift: In deviations of the scores.
        members: Number of members.
        others: Number of the others.
        level: Level of the interval.

    Returns:
        The power, in [0, 1].

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> round(attack_power(0.5, 100, 100), 2), round(attack_power(0.0, 100, 100), 3)
        (0.93, 0.025)
    """
    checks.at_least(1, members=members, others=others)
    auc, z = float(auc_of_shift(abs(shift))), -float(ndtri(tail_of(level)))
    error = max(auc_error(auc, members, others), 1e-12)
    return float(ndtr((auc - 0.5 - z * auc_error(0.5, members, others)) / error))


def auc_of_shift(shift: ArrayLike) -> np.ndarray:
    """AUC of normal scores whose means differ by `shift` deviations: Phi(shift / sqrt 2).

    Example:
        >>> auc_of_shift([0.0, 1.0, 3.0]).round(3).tolist()
        [0.5, 0.76, 0.983]
    """
    return ndtr(np.asarray(shift, np.float64) / math.sqrt(2))


def tpr_of_shift(shift: ArrayLike, fpr: float) -> np.ndarray:
    """True positive rate of such scores at a false positive rate: Phi(shift - z_{1 - fpr}).

    Args:
        shift: In deviations of the scores.
        fpr: In (0, 1).

    Example:
        >>> tpr_of_shift([1.0, 2.0], fpr=0.01).round(3).tolist()
        [0.092, 0.372]
    """
    return ndtr(np.asarray(shift, np.float64) + float(ndtri(fpr)))
