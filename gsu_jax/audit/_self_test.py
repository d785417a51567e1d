"""The audit audits itself: models whose verdict is known."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax.audit._clopper_pearson import clopper_pearson
from gsu_jax.audit._lines import position_line
from gsu_jax.audit._rates import Rate
from gsu_jax.audit._verdicts import Line, Verdict, worst

GROUPS = ("retrained", "original", "fine_tuned")


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
        overall: The rates of each group by the worst line of a model: `overall[group][verdict]`.
        passed: Share of all lines of held-out retrained models that PASSED, with its
            Clopper-Pearson interval, as if lines were independent.
        models: Number of models of each group.
    """

    lines: dict[str, dict[str, dict[Verdict, float]]]
    overall: dict[str, dict[Verdict, float]]
    passed: Rate
    models: dict[str, int]

    @property
    def believed(self) -> bool:
        """Whether retrained models may pass 95 % of lines, and all of the others fail."""
        fails = [self.overall[group][Verdict.FAILED] for group in GROUPS[1:]]
        return self.passed.high >= 0.95 and min(fails) == 1


def self_test(
    figures: Mapping[str, KnownModels],
    *,
    effect: float,
    random: str = "base seeds",
    line: Callable[..., Line] = position_line,
) -> SelfTest:
    """The rates of each verdict on models whose verdict is known.

    Each retrained model is judged as a candidate against the other retrained models, each original
    and each fine-tuned one against all. An audit is believed if the interval of the share of lines
    that held-out retrained models pass reaches 95 %, and if every original and fine-tuned original
    fails on some line. Where the stated effect is smaller than what the ensemble can show, lines
    come out NOT DETECTABLE: so does an image that nobody memorizes. With more lines more retrained
    models fail on one of them by chance: `overall` says how many.

    Args:
        figures: For each line its `KnownModels`; all lines have the same models in the same order.
        effect: The shift that must not go unseen, in deviations of the retrained models.
        random: What was random.
        line: `line(name, value, retrained, effect=, random=)` judges one model.

    Returns:
        A `SelfTest`.

    Raises:
        ValueError: There are no lines, a group is empty or has other models on another line, or
            there are fewer than three retrained models.

    Example:
        >>> rng = np.random.default_rng(3)
        >>> phi = KnownModels(rng.normal(size=40), rng.normal(size=3) + 9, rng.normal(size=3) + 7)
        >>> found = self_test({"phi": phi}, effect=5.0)
        >>> found.passed.value > 0.9, found.overall["original"][Verdict.FAILED], found.believed
        (True, 1.0, True)
    """
    known = {
        name: KnownModels(*(np.asarray(group, np.float64) for group in models))
        for name, models in figures.items()
    }
    shapes = {tuple(np.shape(group) for group in models) for models in known.values()}
    sizes = [shape for shapes_of_line in shapes for shape in shapes_of_line]
    if len(shapes) != 1 or any(len(shape) != 1 or not shape[0] for shape in sizes):
        raise ValueError(
            "figures must be one or more lines, each with vectors of the same models, got shapes "
            f"{sorted(shapes)}"
        )
    models = dict(zip(GROUPS, (shape[0] for shape in sizes), strict=True))
    if models["retrained"] < 3:
        raise ValueError(f"retrained must be three or more models, got {models['retrained']}")

    def judged(name: str, group: str) -> list[Line]:
        values, ensemble = getattr(known[name], group), np.asarray(known[name].retrained)
        others = [
            np.delete(ensemble, i) if group == "retrained" else ensemble for i in range(len(values))
        ]
        return [
            line(name, value, rest, effect=effect, random=random)
            for value, rest in zip(values, others, strict=True)
        ]

    table = {name: {group: judged(name, group) for group in GROUPS} for name in known}
    of_lines = {
        name: {group: _rates(lines) for group, lines in groups.items()}
        for name, groups in table.items()
    }
    overall = {
        group: _rates(
            [worst(of_model) for of_model in zip(*(table[n][group] for n in known), strict=True)]
        )
        for group in GROUPS
    }
    held_out = [line for groups in table.values() for line in groups["retrained"]]
    passed = sum(line.verdict == Verdict.PASSED for line in held_out)
    share = Rate(passed / len(held_out), *clopper_pearson(passed, len(held_out)))
    return SelfTest(of_lines, overall, share, models)


def _rates(lines: list[Line]) -> dict[Verdict, float]:
    found = [line.verdict for line in lines]
    return {verdict: found.count(verdict) / len(found) for verdict in Verdict}
