"""Lines that hold an unlearned model, or several, against retrained ones."""

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.audit._power import difference_power, equivalence_power
from gsu_jax.audit._verdicts import Line, judge
from gsu_jax.metrics import equivalence_test, position


def shared_level(lines: int, level: float = 0.95) -> float:
    """The level of each of some lines that share one, 1 - (1 - level) / lines (Bonferroni).

    Whatever the lines have in common, a retrained model fails one or more of them with a chance of
    at most 1 - level.

    Args:
        lines: How many, at least 1.
        level: That they share.

    Returns:
        The level of each.

    Raises:
        ValueError: There is no line.

    Example:
        >>> round(shared_level(5), 3)
        0.99
    """
    checks.at_least(1, lines=lines)
    return 1 - (1 - level) / lines


def position_line(
    name: str,
    value: float,
    retrained: ArrayLike,
    *,
    effect: float,
    random: str,
    level: float = 0.95,
) -> Line:
    """One unlearned model against retrained ones: FAILED outside their prediction interval.

    Args:
        name: What was tested.
        value: The figure of the unlearned model.
        retrained: `[m]`, m >= 2, the figure of each retrained model.
        effect: The shift that must not go unseen, in deviations of the retrained models; such as
            that of the original model, from other seeds than those that are judged.
        random: What was random.
        level: Of the interval; `shared_level` where one of several lines may fail by chance.

    Returns:
        A `Line` whose statistic is the z of `position`.

    Raises:
        ValueError: There are fewer than two retrained models, a value is not finite, or the effect
            is not above 0.

    Example:
        >>> ensemble = [1.0, 1.1, 0.9, 1.2, 1.0, 0.8, 1.1, 0.9]
        >>> verdicts = [
        ...     position_line("phi", value, ensemble, effect=effect, random="base seeds").verdict
        ...     for value, effect in [(1.0, 5.0), (1.0, 1.0), (2.0, 1.0)]
        ... ]
        >>> [str(verdict) for verdict in verdicts]
        ['PASSED', 'NOT DETECTABLE', 'FAILED']
    """
    checks.above(0, effect=effect)
    where, m = position(value, retrained, level), np.size(retrained)
    inside = bool(where.inside)
    power = difference_power(effect, 1, m, level)
    return judge(
        name, float(where.z), passed=inside, found=not inside, n=m, power=power, random=random
    )


def equivalence_line(
    name: str,
    unlearned: ArrayLike,
    retrained: ArrayLike,
    *,
    margin: float,
    random: str,
    level: float = 0.95,
) -> Line:
    """Several unlearned models against retrained ones, by two one-sided tests (TOST).

    PASSED where the difference is shown to lie within the margin, FAILED where it is not and a
    difference from 0 is shown. Where neither is shown it is NOT DETECTABLE: with a power of 0.8,
    one of five methods that equal retraining is not shown to, and must not fail for it.

    Args:
        name: What was tested.
        unlearned: `[n]`, n >= 2, the figure of each unlearned model.
        retrained: `[m]`, m >= 2, of each retrained model.
        margin: The difference that does not matter, in deviations of the retrained models.
        random: What was random.
        level: 1 less the size of the test that finds a difference.

    Returns:
        A `Line` whose statistic is the difference in those deviations, and whose n is the smaller
        group.

    Raises:
        ValueError: A group has fewer than two models, a value is not finite, the retrained models
            are all equal, or the margin is not above 0.

    Example:
        >>> models = np.random.default_rng(0).normal(size=(2, 20))
        >>> line = equivalence_line("phi", models[0], models[1], margin=1.5, random="base seeds")
        >>> print(line.verdict, round(line.power, 2))
        PASSED 0.99
    """
    checks.above(0, margin=margin)
    deviation = float(np.std(np.asarray(retrained, np.float64), ddof=1))
    if not deviation > 0:
        raise ValueError("retrained must be two or more models that differ; give other seeds")
    n, m = np.size(unlearned), np.size(retrained)
    test = equivalence_test(unlearned, retrained, margin * deviation)
    equal = test.p < 0.05
    return judge(
        name, test.difference / deviation, passed=equal,
        found=not equal and test.p_difference < 1 - level, n=min(n, m),
        power=equivalence_power(margin, n, m), random=random, must_show=False,
    )  # fmt: skip
