"""How soon a model learns forgotten images again."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.metrics import equivalence_test


class Relearning(NamedTuple):
    """Result of `relearning_cost`.

    Attributes:
        log_ratio: ln AIN; below 0 the unlearned model learns sooner than a retrained one, above 0
            later.
        low: Lower end of its 90 % interval.
        high: Upper end of that interval.
        p: Of the test that |ln AIN| is below the margin; 1 if a curve never reaches the level.
        power: The chance of p < 0.05 if both learn equally fast.
        unreached: How many curves of unlearned and of retrained models never reach the level.
        p_difference: Of the test that both learn equally fast; small means that they do not.
    """

    log_ratio: float
    low: float
    high: float
    p: float
    power: float
    unreached: tuple[int, int]
    p_difference: float


def relearning_steps(losses: ArrayLike, level: ArrayLike) -> np.ndarray:
    """Steps until a loss first falls to a level, between steps by a straight line.

    Args:
        losses: `[..., steps + 1]`, the loss before the first step and after each.
        level: A number, or one for each curve.

    Returns:
        Float64 without the last axis: 0 if the loss starts there, infinite if it never gets there.

    Raises:
        ValueError: There are fewer than two values, the shapes do not fit, or a value is NaN.

    Example:
        >>> relearning_steps([[8.0, 4.0, 2.0], [3.0, 2.5, 2.0], [9.0, 8.0, 7.0]], 3.0).tolist()
        [1.5, 0.0, inf]
    """
    losses, level = np.asarray(losses, np.float64), np.asarray(level, np.float64)
    if losses.ndim == 0 or losses.shape[-1] < 2 or level.shape not in ((), losses.shape[:-1]):
        raise ValueError(
            "losses must be [..., steps + 1] with a step or more, and level a number or [...], got "
            f"{losses.shape} and {level.shape}"
        )
    if np.isnan(losses).any() or np.isnan(level).any():
        raise ValueError("losses or level is NaN; leave out seeds that diverged")
    reached = losses <= level[..., None]
    first = reached.argmax(axis=-1)
    after = np.take_along_axis(losses, first[..., None], -1)[..., 0]
    before = np.take_along_axis(losses, np.maximum(first - 1, 0)[..., None], -1)[..., 0]
    fall = np.where(first > 0, before - after, 1.0)
    between = first - np.where(first > 0, (level - after) / fall, 0.0)
    return np.where(reached.any(axis=-1), between, np.inf)


def relearning_cost(
    unlearned: ArrayLike, retrained: ArrayLike, level: ArrayLike, margin: float = 0.4
) -> Relearning:
    r"""The anamnesis index on its log scale, and a test that it is 0 but for a margin.

    .. math::

        \ln \mathrm{AIN} = \overline{\ln t_U} - \overline{\ln t_R}

    t is `relearning_steps`, at least 1, of models that are trained on forgotten images with equal
    optimizer, rate, batches and seeds of both. A usual level is the original model's loss plus 5 %
    of what a retrained model has to fall to it. A retrained model may learn a class again within a
    few steps, so only the ratio counts. A curve that never reaches the level counts as its length:
    the ratio is then a bound, and equality is not shown.

    Args:
        unlearned: `[n, steps + 1]`, n >= 2, a loss curve of each unlearned model.
        retrained: `[m, steps + 1]`, m >= 2, of each retrained model.
        level: The loss to reach.
        margin: Of |ln AIN|; 0.4 is a factor of 1.5.

    Returns:
        A `Relearning`.

    Raises:
        ValueError: There are fewer than two curves of a kind, a value is NaN, or the margin is not
            above 0.

    Example:
        >>> slow, fast = [[8.0, 6.0, 4.0, 2.0]] * 2, [[8.0, 2.0, 1.0, 1.0]] * 2
        >>> round(relearning_cost(fast, slow, level=2.0).log_ratio, 3)
        -1.099

    References:
        Chundawat et al., `Zero-Shot Machine Unlearning <https://arxiv.org/abs/2201.05629>`_, 2023;
        its anamnesis index, here as a difference of logarithms.
    """
    checks.above(0, margin=margin)
    logs, unreached = [], []
    for name, curves in {"unlearned": unlearned, "retrained": retrained}.items():
        if np.ndim(curves) != 2 or len(np.asarray(curves)) < 2:
            raise ValueError(
                f"{name} must be [models, steps + 1] of two or more models, got shape "
                f"{np.shape(curves)}"
            )
        times = relearning_steps(curves, level)
        unreached.append(int(np.isinf(times).sum()))
        logs.append(np.log(np.clip(times, 1, np.shape(curves)[1] - 1)))
    found = equivalence_test(*logs, margin)
    p = 1.0 if any(unreached) else found.p
    return Relearning(
        found.difference, found.low, found.high, p, found.power, (unreached[0], unreached[1]),
        found.p_difference,
    )  # fmt: skip
