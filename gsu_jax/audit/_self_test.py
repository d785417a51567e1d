"""The audit audits itself: models whose verdict is known."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax.audit._clopper_pearson import clopper_pearson
from gsu_jax.audit._lines import position_line, shared_level
from gsu_jax.audit._rates import Rate
from gsu_jax.audit._verdicts import ENOUGH_POWER, Line, Verdict, worst

GROUPS = ("retrained", "original", "fine_tuned")
ENOUGH = 0.95  # of lines


class KnownModels(NamedTuple):
    """A figure of models whose verdict is known, one value a model.

    Attributes:
        retrained: `[m]`, m >= 3; each is judged against the others.
        original: `[k]`, models that never forgot.
        fine_tuned: `[j]`, original models that were trained on the retained data alone.
    """

    retrained: ArrayLike
    original: ArrayLike
    fine_tuned: ArrayLike


class SelfTest(NamedTuple):
    """Result of `self_test`; rates map each `Verdict` to its share.

    Attributes:
        lines: The rates of each group on each line: `lines[name][group][verdict]`.
        overall: The rates of each group by the worst line of a model: `overall[group][verdict]`;
            controls do not count.
        passed: Share that PASSED of the lines of held-out retrained models with a power of 0.8 or
            more, with its Clopper-Pearson interval, as if lines were independent. NaN if there is
            none.
        false_alarms: Share of held-out retrained models that FAILED a line, with its interval.
        unseen: Share of the verdicts on controls that are NOT DETECTABLE; None without controls.
        models: Number of models of each group.
    """

    lines: dict[str, dict[str, dict[Verdict, float]]]
    overall: dict[str, dict[Verdict, float]]
    passed: Rate
    false_alarms: Rate
    unseen: float | None
    models: dict[str, int]

    @property
    def believed(self) -> bool:
        """Whether retrained models pass 95 % of lines, all others fail, and controls show nothing.

        Of controls 95 % must be NOT DETECTABLE.
        """
        fails = [self.overall[group][Verdict.FAILED] for group in GROUPS[1:]]
        silent = self.unseen is None or self.unseen >= ENOUGH
        return self.passed.value >= ENOUGH and min(fails) == 1 and silent


def self_test(
    figures: Mapping[str, KnownModels],
    *,
    effect: float | Mapping[str, float],
    random: str = "base seeds",
    line: Callable[..., Line] = position_line,
    controls: Mapping[str, KnownModels] | None = None,
    level: float | None = None,
) -> SelfTest:
    """The rates of each verdict on models whose verdict is known.

    Each retrained model is judged as a candidate against the other retrained models, each original
    and each fine-tuned one against all. An audit is believed if held-out retrained models pass 95 %
    of the lines, and if every original and fine-tuned original fails on some line. Where the stated
    effect is smaller than what the ensemble can show, lines come out NOT DETECTABLE: so does an
    image that nobody memorizes. With more lines more retrained models fail on one of them by
    chance, so that lines share one level; one line alone is passed by 95 % on average.

    Args:
        figures: For each line its `KnownModels`; all lines have the same models in the same order.
        effect: The shift that must not go unseen, in deviations of the retrained models; of each
            line, or of all.
        random: What was random.
        line: `line(name, value, retrained, effect=, random=, level=)` judges one model.
        controls: The same of lines where there is nothing to find, such as images that no model was
            trained on: they must be NOT DETECTABLE.
        level: Of each line; by default that of `shared_level`, as many as `figures` has.

    Returns:
        A `SelfTest`.

    Raises:
        ValueError: There are no lines, a group is empty or has other models on another line, or
            there are fewer than three retrained models.

    Example:
        >>> rng = np.random.default_rng(3)
        >>> figures = {
        ...     name: KnownModels(
        ...         rng.normal(size=40), rng.normal(size=3) + 9, rng.normal(size=3) + 7
        ...     )
        ...     for name in ("phi", "recovery")
        ... }
        >>> found = self_test(figures, effect=6.0)
        >>> found.passed.value > 0.95, found.overall["original"][Verdict.FAILED], found.believed
        (True, 1.0, True)
    """
    controls = controls or {}
    known = {
        name: KnownModels(*(np.asarray(group, np.float64) for group in models))
        for name, models in {**figures, **controls}.items()
    }
    shapes = {tuple(np.shape(group) for group in models) for models in known.values()}
    sizes = [shape for shapes_of_line in shapes for shape in shapes_of_line]
    if len(shapes) != 1 or any(len(shape) != 1 or not shape[0] for shape in sizes) or not figures:
        raise ValueError(
            "figures must be one or more lines, each with vectors of the same models, got shapes "
            f"{sorted(shapes)}"
        )
    models = dict(zip(GROUPS, (shape[0] for shape in sizes), strict=True))
    if models["retrained"] < 3:
        raise ValueError(f"retrained must be three or more models, got {models['retrained']}")
    effects = effect if isinstance(effect, Mapping) else dict.fromkeys(known, effect)
    judge_one = partial(line, random=random, level=level or shared_level(len(figures)))

    def judged(name: str, group: str) -> list[Line]:
        values, ensemble = getattr(known[name], group), np.asarray(known[name].retrained)
        others = [
            np.delete(ensemble, i) if group == "retrained" else ensemble for i in range(len(values))
        ]
        return [
            judge_one(name, value, rest, effect=effects[name])
            for value, rest in zip(values, others, strict=True)
        ]

    table = {name: {group: judged(name, group) for group in GROUPS} for name in known}
    worst_of = {
        group: [worst(of) for of in zip(*(table[n][group] for n in figures), strict=True)]
        for group in GROUPS
    }
    held_out = [each for name in figures for each in table[name]["retrained"]]
    strong = [each for each in held_out if each.power >= ENOUGH_POWER]
    of_controls = [each for name in controls for group in table[name].values() for each in group]
    return SelfTest(
        {name: {g: _rates(lines) for g, lines in of.items()} for name, of in table.items()},
        {group: _rates(lines) for group, lines in worst_of.items()},
        _rate(strong, Verdict.PASSED),
        _rate(worst_of["retrained"], Verdict.FAILED),
        _rates(of_controls)[Verdict.NOT_DETECTABLE] if of_controls else None,
        models,
    )


def _rates(lines: list[Line]) -> dict[Verdict, float]:
    found = [line.verdict for line in lines]
    return {verdict: found.count(verdict) / len(found) for verdict in Verdict}


def _rate(lines: list[Line], verdict: Verdict) -> Rate:
    if not lines:
        return Rate(float("nan"), 0.0, 1.0)
    count = sum(line.verdict == verdict for line in lines)
    return Rate(count / len(lines), *clopper_pearson(count, len(lines)))
