"""Plots the front of an arena: privacy against utility, with the retrained ensemble drawn in."""

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gsu_jax.report._figures import BEFORE, INK, Style, drawing, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Scale(NamedTuple):
    """One axis of a panel.

    Attributes:
        label: Of the axis.
        kind: "log" or "linear".
        least: What is always shown.
        most: As `least`; a larger value is a hollow marker at the edge.
        limits: The largest range.
        ticks: Where a tick may stand.
    """

    label: str
    kind: str
    least: float
    most: float
    limits: tuple[float, float]
    ticks: tuple[float, ...]


SCALES = {
    "fratio": Scale(
        "fratio, x retrained", "log", 0.5, 2.0, (0.02, 100.0),
        (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100),
    ),
    "rho": Scale(
        "rho: residual share of the evidence of forgotten images", "linear", -0.5, 1.05,
        (-2.0, 2.0), tuple(np.arange(-2.0, 2.25, 0.5)),
    ),
    "fid_retain": Scale(
        "retained FID, x retrained", "log", 0.8, 1.3, (0.3, 10.0),
        (0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10),
    ),
    "nelbo_retain": Scale(
        "retained nelbo, x retrained", "log", 0.99, 1.03, (0.9, 1.5),
        (0.9, 0.95, 0.98, 0.99, 1, 1.01, 1.02, 1.03, 1.05, 1.1, 1.2, 1.3, 1.5),
    ),
}  # fmt: skip
ACROSS, UP = ("fratio", "rho"), ("fid_retain", "nelbo_retain")
REGION = {"facecolor": "none", "edgecolor": "#1b998b", "hatch": "//", "linewidth": 1, "zorder": 1}
AIM = {"color": BEFORE, "alpha": 0.13, "linewidth": 0, "zorder": 0}


def arena_front(arena: Mapping[str, Any]) -> "Figure":
    """Plots retained FID and nelbo against fratio and rho, relative to retraining.

    Without phi, as for a model without an encoder, the panels of rho are left out.

    A marker is the mean of a method over the closed requests, with its 95 % interval over seeds on
    both axes. The hatched region predicts one more retrained model. The gray band is where all aims
    of a panel are met. A mean beyond the scale is a hollow marker at the edge.

    Args:
        arena: The content of arena.json.

    Returns:
        A matplotlib figure.
    """
    entries = [arena["before"], arena["retrained"], *arena["methods"]]
    roles = {entry["method"]: "method" for entry in entries}
    look = styles(roles | {"before": "baseline", "retrained": "yardstick"})
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        ways = [m for m in ACROSS if any(e["figures"][m]["mean"] is not None for e in entries)]
        figure = Figure(figsize=(3 + 4.2 * len(ways), 8.2), layout="constrained")
        panels = figure.subplots(len(UP), len(ways), squeeze=False)
        for axes, (up, across) in zip(panels.flat, product(UP, ways), strict=True):
            _frame(axes, across, up, entries)
            _draw_aims(axes, across, up, arena["aims"])
            _draw_region(axes, arena["retrained"]["figures"], across, up)
            for order, entry in enumerate(reversed(entries)):
                _draw(axes, entry["figures"], across, up, look[entry["method"]], 3 + order / 100)
        handles = [
            Line2D(
                [], [], linestyle="", marker=look[name].marker, color=look[name].color,
                markersize=_size(look[name]), markeredgecolor="white", markeredgewidth=0.5,
                label=_label(entry, arena["winner"]),
            )
            for entry in entries
            for name in [entry["method"]]
        ]  # fmt: skip
        handles += [
            Patch(label="95 % of retrained models", **REGION),
            Patch(label="aims met", **AIM),
        ]
        figure.legend(handles=handles, loc="outside right upper", fontsize=8.5)
    return figure


def _label(entry: Mapping[str, Any], winner: str) -> str:
    name = entry["method"]
    return f"{name}, J {entry['figures']['objective']['mean']:.2f}" + (
        " (winner)" if name == winner else ""
    )


def _frame(axes: "Axes", across: str, up: str, entries: list[Mapping[str, Any]]) -> None:
    axes.set_xscale(SCALES[across].kind)
    axes.set_yscale(SCALES[up].kind)
    ways = (across, axes.xaxis, axes.set_xlim), (up, axes.yaxis, axes.set_ylim)
    for metric, axis, limit in ways:
        scale = SCALES[metric]
        means = [entry["figures"][metric]["mean"] for entry in entries]
        seen = [m for m in means if m is not None and scale.limits[0] <= m <= scale.limits[1]]
        ends = min([scale.least, *seen]), max([scale.most, *seen])
        if scale.kind == "log":
            room = (ends[1] / ends[0]) ** 0.06
            ends = ends[0] / room, ends[1] * room
        else:
            room = 0.06 * (ends[1] - ends[0])
            ends = ends[0] - room, ends[1] + room
        ticks = [tick for tick in scale.ticks if ends[0] <= tick <= ends[1]]
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
        limit(*ends)
        if axis is axes.yaxis or up == UP[-1]:
            axis.set_label_text(scale.label)


def _draw_aims(axes: "Axes", across: str, up: str, aims: Mapping[str, float]) -> None:
    from matplotlib.patches import Rectangle

    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    if across == "rho":
        left = max(left, -aims["rho"])
    axes.add_patch(Rectangle((left, bottom), aims[across] - left, aims[up] - bottom, **AIM))


def _draw_region(axes: "Axes", figures: Mapping[str, Any], across: str, up: str) -> None:
    from matplotlib.patches import Rectangle

    ends = [figures[across], figures[up]]
    if any(end["low"] is None for end in ends):
        return
    (left, right), (bottom, top) = (
        (max(end["low"], limits[0]), end["high"])
        for end, limits in zip(ends, (axes.get_xlim(), axes.get_ylim()), strict=True)
    )
    axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, **REGION))


def _draw(
    axes: "Axes", figures: Mapping[str, Any], across: str, up: str, look: Style, order: float
) -> None:
    place, reach, inside = [], [], True
    for metric, limits in ((across, axes.get_xlim()), (up, axes.get_ylim())):
        figure = figures[metric]
        if figure["mean"] is None:
            return
        place.append(float(np.clip(figure["mean"], *limits)))
        inside &= limits[0] <= figure["mean"] <= limits[1]
        ends = (figure["low"], figure["high"]) if figure["low"] is not None else place[-1:] * 2
        reach.append(np.abs(np.clip(ends, *limits) - place[-1])[:, None])
    if inside and look.color != INK:  # the region stands for retrained models
        axes.errorbar(
            *place, xerr=reach[0], yerr=reach[1], color=look.color, alpha=0.55, linewidth=1,
            zorder=order,
        )  # fmt: skip
    axes.plot(
        *place, linestyle="", marker=look.marker, color=look.color, markersize=_size(look),
        clip_on=False, in_layout=False, zorder=order + 1,
        **({"markeredgecolor": "white", "markeredgewidth": 0.6} if inside
           else {"fillstyle": "none", "markeredgewidth": 1.5}),
    )  # fmt: skip


def _size(look: Style) -> float:
    return 11.0 if look.marker == "*" else 7.5
