"""Ranks the settings of a sweep by forgetting and cost, and plots them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gsu_jax.metrics import by_seed
from gsu_jax.report._figures import BEFORE, INK, MARKERS, PALETTE, SOFT, drawing
from gsu_jax.report._results import with_role

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
SWEPT = ("learning_rate", "retain_weight")
FARTHEST = 1000.0  # percent; a larger cost is a hollow marker at the edge
RULE = (
    "lowest mean fratio among the settings of which no seed diverged and whose retained nelbo lies "
    "at most {budget:g} % above the pre-trained model's, in the mean over seeds"
)


class Point(NamedTuple):
    """A setting of a sweep with its cost and its forgetting.

    Attributes:
        row: The name of its rows.
        learning_rate: The learning rate.
        retain_weight: The weight of the retain loss.
        cost: `[seeds]`, 100 (nelbo - nelbo before) / |nelbo before| of the retained test images,
            against the pre-trained model of the same seed.
        fratio: `[seeds]`, fratio after unlearning.
        lost: The number of diverged seeds, which `cost` and `fratio` exclude.
    """

    row: str
    learning_rate: float
    retain_weight: float
    cost: np.ndarray
    fratio: np.ndarray
    lost: int


def points(rows: Sequence[dict], settings: dict[str, dict]) -> list[Point]:
    """Returns the settings of a sweep as points.

    Args:
        rows: As in results.json.
        settings: Row name -> {"learning_rate", "retain_weight"}.

    Returns:
        A point for each setting, in their order.

    Example:
        >>> rows = [
        ...     {"method": "before", "seed": 0, "nelbo_retain": 100.0, "fratio": 0.3},
        ...     {"method": "rate 1", "seed": 0, "nelbo_retain": 102.0, "fratio": 0.01},
        ... ]
        >>> (point,) = points(rows, {"rate 1": {"learning_rate": 1.0, "retain_weight": 0.0}})
        >>> point.cost, point.fratio
        (array([2.]), array([0.01]))
    """
    before = _before(rows, "nelbo_retain")
    found = []
    for row, setting in settings.items():
        nelbo, fratio = (by_seed(rows, row, metric) for metric in ("nelbo_retain", "fratio"))
        seeds = [seed for seed in fratio if seed in nelbo and seed in before]
        cost = [100 * (nelbo[seed] - before[seed]) / abs(before[seed]) for seed in seeds]
        lost = sum(r["method"] == row for r in rows) - len(seeds)
        values = (setting["learning_rate"], setting["retain_weight"])
        found.append(
            Point(row, *values, np.array(cost), np.array([fratio[s] for s in seeds]), lost)
        )
    return found


def pareto(found: Sequence[Point]) -> list[Point]:
    """Returns the points that no other point dominates in mean cost and fratio, by cost.

    Excludes settings of which a seed diverged: luck selects the seeds that survive.
    """
    front: list[Point] = []
    for point in sorted(_whole(found), key=lambda p: (p.cost.mean(), p.fratio.mean())):
        if not front or point.fratio.mean() < front[-1].fratio.mean():
            front.append(point)
    return front


def best(found: Sequence[Point], budget: float) -> Point | None:
    """Returns the point that `RULE` selects, or None if no setting is within the budget."""
    within = [point for point in pareto(found) if point.cost.mean() <= budget]
    return within[-1] if within else None


def sweep_front(rows: Sequence[dict], found: Sequence[Point], budget: float) -> "Figure":
    """Plots forgetting against cost; lower left is better.

    The color shows the learning rate, the marker the retain weight. A large marker is the mean of a
    setting with its deviation over seeds on both axes; small markers are its seeds. A line joins
    the points of `pareto`; a ring marks the best. A marker is hollow if some seeds diverged, or at
    the right edge if the cost is beyond the scale. The legend counts settings without any seed.

    Args:
        rows: As in results.json.
        found: The points of `points`.
        budget: The largest cost of the best setting, in percent.

    Returns:
        A matplotlib figure.
    """
    rates = sorted({point.learning_rate for point in found})
    weights = sorted({point.retain_weight for point in found})
    color = {rate: PALETTE[i % len(PALETTE)] for i, rate in enumerate(rates)}
    marker = {weight: ("o" + MARKERS)[i % 12] for i, weight in enumerate(weights)}
    with drawing():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        axes = figure.subplots()
        drawn = [point for point in found if len(point.cost)]
        start = [*_before(rows, "fratio").values()]
        _frame(axes, drawn, start, budget)
        if start:
            axes.axhline(np.mean(start), color=BEFORE, linewidth=1, linestyle=":", zorder=1)
        axes.axvspan(axes.get_xlim()[0], budget, color=BEFORE, alpha=0.12, linewidth=0, zorder=0)
        front = [point for point in pareto(found) if point.cost.mean() <= FARTHEST]
        ends = [(point.cost.mean(), point.fratio.mean()) for point in front]
        if ends:
            axes.plot(*zip(*ends, strict=True), color=INK, linewidth=1.2, zorder=2)
        for point in drawn:
            _draw(axes, point, color[point.learning_rate], marker[point.retain_weight])
        if chosen := best(found, budget):
            where = (chosen.cost.mean(), chosen.fratio.mean())
            axes.plot(*where, "o", color=INK, markersize=15, fillstyle="none", zorder=5)
        lost = len(found) - len(drawn)
        handles = _handles(color, marker, budget, chosen is not None, lost)
        figure.legend(handles=handles, loc="outside right upper", fontsize=8.5)
        axes.set_xlabel("nelbo of the retained test images, % above the pre-trained model's")
        axes.set_ylabel("fratio: share of samples that show what was to be forgotten")
    return figure


def _before(rows: Sequence[dict], metric: str) -> dict:
    return by_seed(rows, with_role("baseline", {"rows": rows}), metric)


def _whole(found: Sequence[Point]) -> list[Point]:
    return [point for point in found if len(point.cost) and not point.lost]


def _draw(axes: "Axes", point: Point, color: str, marker: str) -> None:
    x, y = point.cost.mean(), point.fratio.mean()
    far = x > FARTHEST
    hollow = far or point.lost
    # A marker over the edge must not move the axes.
    style = {"marker": marker, "color": color, "clip_on": False, "in_layout": False}
    style["linestyle"] = ""
    if not far:
        seen = point.cost <= axes.get_xlim()[1]
        axes.plot(
            point.cost[seen], point.fratio[seen], **style, markersize=3.2, alpha=0.5,
            markeredgewidth=0, zorder=3,
        )  # fmt: skip
    if not far and len(point.cost) > 1:
        up = point.fratio.std(ddof=1)
        reach = {"xerr": point.cost.std(ddof=1), "yerr": [[min(up, y)], [up]]}  # no share below 0
        axes.errorbar(x, y, **reach, color=color, alpha=0.5, linewidth=1, zorder=3)
    axes.plot(
        axes.get_xlim()[1] if far else x, y, **style, markersize=7.5, markeredgewidth=1, zorder=4,
        fillstyle="none" if hollow else "full", markeredgecolor=color if hollow else "white",
    )  # fmt: skip


def _frame(axes: "Axes", drawn: Sequence[Point], start: Sequence[float], budget: float) -> None:
    axes.set_xscale("symlog", linthresh=10, linscale=1.5)
    costs = [point.cost.mean() for point in drawn] + [0.0, budget]
    high = max(cost for cost in costs if cost <= FARTHEST)
    far = max(costs) > FARTHEST
    axes.set_xlim(min(costs) - 1, FARTHEST if far else 1.15 * high + 1)
    steps = [-100, -50, -20, -10, -5, -2, 0, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    low, high = axes.get_xlim()
    steps = [step for step in steps if low <= step <= high]
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    top = max([share for point in drawn for share in point.fratio] + [*start], default=1.0)
    axes.set_ylim(-0.02 * top, 1.05 * max(top, 0.01))
    axes.xaxis.minorticks_off()


def _handles(
    color: dict[float, str], marker: dict[float, str], budget: float, chosen: bool, lost: int
) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def line(label: str, **style) -> Line2D:
        return Line2D([], [], **{"linestyle": "", "marker": "o", "label": label} | style)

    handles = [line(f"learning rate {rate:g}", color=c) for rate, c in color.items()]
    handles += [line(f"retain weight {w:g}", color=SOFT, marker=m) for w, m in marker.items()]
    handles += [
        line("Pareto-optimal", color=INK, linestyle="-", marker=""),
        line("fratio before", color=BEFORE, linestyle=":", marker=""),
        Patch(label=f"within {budget:g} %", color=BEFORE, alpha=0.12, linewidth=0),
    ]
    if chosen:
        handles.append(line("best", color=INK, fillstyle="none", markersize=11))
    if lost:
        handles.append(line(f"{lost} settings: all seeds diverged", marker=""))
    return handles
