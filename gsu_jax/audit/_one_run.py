"""A lower bound of epsilon from one training."""

import math

from scipy.special import betaincinv

from gsu_jax import checks
from gsu_jax.audit._clopper_pearson import tail_of


def one_run_epsilon(right: int, guesses: int, level: float = 0.95) -> float:
    r"""Epsilon from one training, in which each of r canaries was included by a fair coin.

    .. math::

        \varepsilon = \sup\Big\{\varepsilon \ge 0 :
        P\Big[\mathrm{Bin}\Big(r, \frac{e^\varepsilon}{1 + e^\varepsilon}\Big) \ge v\Big]
        \le 1 - \mathrm{level}\Big\}

    for v right guesses, which is the logit of the one-sided Clopper-Pearson bound of v / r. For
    delta = 0. Canaries that interfere with each other lower the bound.

    Args:
        right: v, the right guesses of the coins.
        guesses: r, at least 1; an attack may abstain where it is unsure, and must say so before it
            sees the coins.
        level: Level of the bound.

    Returns:
        Epsilon, 0 or above.

    Raises:
        ValueError: `right` is not in 0..guesses, or the level is not in (0, 1).

    Example:
        >>> round(one_run_epsilon(80, 100), 2)
        0.96

    References:
        Steinke et al., `Privacy Auditing with One (1) Training Run
        <https://arxiv.org/abs/2305.08846>`_, 2023.
    """
    checks.at_least(1, guesses=guesses)
    if not 0 <= right <= guesses:
        raise ValueError(f"right must be in 0..{guesses}, got {right}")
    alpha = 2 * tail_of(level)
    share = float(betaincinv(right, guesses - right + 1, alpha)) if right else 0.0
    return max(0.0, math.log(share / (1 - share))) if share > 0 else 0.0
