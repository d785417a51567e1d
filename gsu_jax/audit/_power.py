"""What a number of models can show."""

import math

import numpy as np
from scipy.special import gammaincinv, nctdtr, ndtr, stdtrit

from gsu_jax import checks
from gsu_jax.audit._clopper_pearson import tail_of


def difference_power(shift: float, n: int, m: int, level: float = 0.95) -> float:
    """The chance that a two-sided t-test of n against m models finds a shift.

    Exact for normal values of one variance: with n + m - 2 degrees of freedom, the noncentrality is
    shift / sqrt(1/n + 1/m). One model against m is the prediction interval of `position`.

    Args:
        shift: Difference of the means, in deviations of a model.
        n: Unlearned models, at least 1.
        m: Retrained models, at least 2.
        level: 1 less the size of the test.

    Returns:
        The power, in [0, 1].

    Raises:
        ValueError: n, m or the level is out of range.

    Example:
        >>> round(difference_power(1.32, 10, 10), 2), round(difference_power(3.3, 1, 10), 2)
        (0.8, 0.8)

    References:
        Cohen, `Statistical Power Analysis for the Behavioral Sciences`, 1988, chapter 2.
    """
    checks.at_least(1, n=n)
    checks.at_least(2, m=m)
    freedom, center = n + m - 2, abs(shift) / math.sqrt(1 / n + 1 / m)
    reach = float(stdtrit(freedom, 1 - tail_of(level)))
    # Far out in a tail SciPy gives NaN for 0.
    below, above = np.nan_to_num(nctdtr(freedom, center, [-reach, reach]))
    return float(min(1.0, below + 1 - above))


def detectable_shift(n: int, m: int, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest shift that `difference_power` finds with the given power.

    Args:
        n: Unlearned models, at least 1.
        m: Retrained models, at least 2.
        power: In (0, 1), above 1 - level.
        level: 1 less the size of the test.

    Returns:
        The shift in deviations of a model.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> [round(detectable_shift(n, n), 2) for n in (5, 10, 32)]
        [2.02, 1.32, 0.71]
    """
    if not 2 * tail_of(level) < power < 1:
        raise ValueError(f"power must be between 1 - level and 1, such as 0.8, got {power}")
    low, high = 0.0, 1.0
    while difference_power(high, n, m, level) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        enough = difference_power(middle, n, m, level) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def equivalence_power(margin: float, n: int, m: int, alpha: float = 0.05) -> float:
    """The chance that `equivalence_line` shows equal means equal.

    For normal values of one variance. Both deviations and the margin, which is counted in the
    deviation s_m of the m models, are estimated: the chance that |difference| < margin s_m -
    t se, with Welch's se and t, is averaged over the variances that n and m models may have.

    Args:
        margin: In deviations of a model, above 0.
        n: Unlearned models, at least 2.
        m: Retrained models, at least 2.
        alpha: Size of each of the two tests.

    Returns:
        The power, in [0, 1], to about 0.001.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> [round(equivalence_power(1.5, n, n), 2) for n in (8, 10, 16)]
        [0.68, 0.81, 0.96]
    """
    checks.above(0, margin=margin)
    checks.at_least(2, n=n, m=m)
    quantiles = (np.arange(200) + 0.5) / 200
    of_n, of_m = (2 * gammaincinv(k / 2, quantiles) / k for k in (n - 1, m - 1))  # variances
    errors = np.stack(np.meshgrid(of_n / n, of_m / m, indexing="ij"))
    squares = (errors**2 / np.array([n - 1, m - 1])[:, None, None]).sum(0)
    t = stdtrit(errors.sum(0) ** 2 / squares, 1 - alpha)
    reach = margin * np.sqrt(of_m) - t * np.sqrt(errors.sum(0))
    return float(np.maximum(0, 2 * ndtr(reach / math.sqrt(1 / n + 1 / m)) - 1).mean())
