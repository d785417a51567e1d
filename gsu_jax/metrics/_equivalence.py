"""A test that two groups of models are equal but for a margin."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from gsu_jax import checks
from gsu_jax.metrics._seeds import checked

ALPHA = 0.05  # of each of the two one-sided tests


class Equivalence(NamedTuple):
    """Result of `equivalence_test`.

    Attributes:
        difference: Mean of a minus mean of b.
        low: Lower end of the 90 % interval of the difference.
        high: Upper end of that interval. It lies within the margin where p is below 0.05.
        p: The larger p-value of the two one-sided tests; small means equal but for the margin.
        power: The chance of p < 0.05 if the means are equal.
        p_difference: Of Welch's two-sided test that the means are equal; small means different.
    """

    difference: float
    low: float
    high: float
    p: float
    power: float
    p_difference: float


def equivalence_test(a: ArrayLike, b: ArrayLike, margin: float) -> Equivalence:
    """Two one-sided Welch tests of |mean a - mean b| < margin, at 5 % each (TOST).

    A difference that is not significant does not show equality; a small p here does. With
    se^2 = s_a^2 / n + s_b^2 / m and Welch's degrees of freedom, p = P(T <= (|difference| - margin)
    / se). The power if the means are equal is 2 Phi(margin / se - 1.645) - 1, or 0, by the normal
    approximation; with fewer than 8 a side it is too high by up to 0.1. A test of low power that
    fails says nothing.

    Args:
        a: `[n]`, n >= 2, one value per model.
        b: `[m]`, m >= 2.
        margin: The difference that does not matter, in the unit of the values; above 0.

    Returns:
        An `Equivalence`.

    Raises:
        ValueError: The margin is not above 0, there are fewer than two values, or a value is not
            finite.

    Example:
        >>> found = equivalence_test([1.0, 1.2, 1.1, 0.9], [1.0, 1.1, 0.9, 1.1], margin=0.3)
        >>> round(found.difference, 3), round(found.p, 3), round(found.power, 2)
        (0.025, 0.008, 0.96)

    References:
        Schuirmann, `A comparison of the two one-sided tests procedure and the power approach
        <https://doi.org/10.1007/BF01068419>`_, 1987.
    """
    a, b = checked(a, "a"), checked(b, "b")
    checks.above(0, margin=margin)
    difference = float(a.mean() - b.mean())
    errors = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    error = math.sqrt(errors.sum())
    if error == 0:
        p = 0.0 if abs(difference) < margin else 1.0
        return Equivalence(difference, difference, difference, p, 1.0, float(difference == 0))
    freedom = errors.sum() ** 2 / np.sum(errors**2 / [len(a) - 1, len(b) - 1])
    reach = float(stdtrit(freedom, 1 - ALPHA)) * error
    p = float(stdtr(freedom, (abs(difference) - margin) / error))
    power = max(0.0, float(2 * ndtr(margin / error - ndtri(1 - ALPHA)) - 1))
    differ = float(2 * stdtr(freedom, -abs(difference) / error))
    return Equivalence(difference, difference - reach, difference + reach, p, power, differ)
