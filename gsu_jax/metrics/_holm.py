"""Corrects p-values for the number of tests."""

import numpy as np
from numpy.typing import ArrayLike


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's correction: p-values that may be compared with 0.05 although there are m of them.

    With p_(1) <= ... <= p_(m) the corrected value of p_(i) is the largest of
    min(1, (m - j + 1) p_(j)) over j <= i. The chance that any true hypothesis is rejected stays
    below the level, whatever the tests have in common.

    Args:
        p_values: `[m]`, each in [0, 1].

    Returns:
        `[m]` corrected p-values in the order of `p_values`.

    Raises:
        ValueError: `p_values` is no vector, or a value is not in [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]

    References:
        Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values must be a vector of numbers from 0 to 1, got {p_values!r:.80}")
    order = p.argsort(kind="stable")
    corrected = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    result = np.empty_like(p)
    result[order] = np.minimum(corrected, 1.0)
    return result
