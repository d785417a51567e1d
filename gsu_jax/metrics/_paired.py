"""A paired test of two methods over seeds."""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax.metrics._seeds import bootstrap_interval, checked

EXACT = 15  # a test of up to this many pairs enumerates all 2^n sign flips


class PairedTest(NamedTuple):
    """Result of `paired_test`.

    Attributes:
        difference: Mean of a - b.
        low: Lower end of its bootstrap interval.
        high: Upper end of its bootstrap interval.
        p: Two-sided p-value.
        n: Number of pairs.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def paired_test(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> PairedTest:
    """Exact sign-flip permutation test of a - b, paired over seeds (Fisher 1935).

    If neither is better, each difference d_i could as well be -d_i. p is the share of the 2^n sign
    flips whose |sum| is at least the observed one. The smallest p is therefore 2 / 2^n: 2/8 with 3
    seeds, 2/32 = 0.0625 with 5, 2/1024 with 10. Five seeds cannot reach 0.05. Above 15 pairs, p is
    estimated from 10,000 flips, of which 9,999 are random and one is the observed.

    `scipy.stats.permutation_test` does not replace it: its tolerance is relative to the observed
    sum, so rounding breaks ties of a sum near zero, and its import takes longer than a report.

    Args:
        a: `[n]`, n >= 2, one per seed.
        b: `[n]`, the same seeds in the same order.
        level: Level of the bootstrap interval of the mean difference.

    Returns:
        A `PairedTest`.

    Raises:
        ValueError: The lengths differ, there are fewer than two pairs, or a value is not finite.

    Example:
        >>> paired_test([3.0, 4.0, 5.0], [1.0, 1.0, 1.0]).p
        0.25
    """
    a, b = checked(a, "a"), checked(b, "b")
    if len(a) != len(b):
        raise ValueError(
            f"a and b must have one value per seed each, got {len(a)} and {len(b)}; "
            "keep the seeds that both have"
        )
    d = a - b
    sums = np.abs(_signs(len(d)) @ d)
    # Flips that differ from the observed sum by rounding alone count as ties.
    p = (sums >= abs(d.sum()) - 1e-12 * np.abs(d).sum()).mean()
    return PairedTest(float(d.mean()), *bootstrap_interval(d, level), float(p), len(d))


@lru_cache(maxsize=16)
def _signs(n: int) -> np.ndarray:
    if n <= EXACT:
        return np.array(list(product((1.0, -1.0), repeat=n)))
    flips = np.random.default_rng(0).choice([1.0, -1.0], size=(9_999, n))
    return np.concatenate([np.ones((1, n)), flips])
