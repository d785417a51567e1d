"""Plots forgetting against utility, with the region of the retrained models."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gsu_jax.metrics import Interval, bootstrap_interval, by_seed, prediction_interval
from gsu_jax.report._figures import PALETTE, Style, drawing
from gsu_jax.report._results import roles_of, with_role

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
X = "fratio"
PANELS = {
    "fid_retain": "FID to the retained test images",
    "nelbo_retain": "nelbo of the retained test images, nats",
}
LEFT = -2e-4  # room for markers at zero


class Axis(NamedTuple):
    """Scale and limits of a utility."""

    log: bool
    low: float
    high: float


def front(results: Mapping[str, Any], look: Mapping[str, Style]) -> "Figure":
    """Plots FID and nelbo against fratio; lower left is better.

    A large marker is the mean of a method with its 95 % interval on both axes; small markers are
    its seeds. The hatched region is the 95 % prediction interval of the retrained models. A mean
    beyond the scale of `utility_axis` is a hollow marker at the upper edge.

    Args:
        results: As in results.json.
        look: The style of each method.
    """
    rows, roles = results["rows"], roles_of(results)
    retrained = with_role("yardstick", results)
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        figure = Figure(figsize=(11.4, max(4.4, 0.9 + 0.21 * len(roles))), layout="constrained")
        region = False
        for axes, metric in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            axis = utility_axis(results, metric)
            _frame(axes, rows, axis)
            ends = [_predicted(rows, retrained, name) for name in (X, metric)]
            if None not in ends:
                _draw_region(axes, *ends)
                region = True
            for order, method in enumerate(roles):
                _draw(axes, rows, method, metric, look[method], axis, 3 + order / 100)
            axes.set_ylabel(PANELS[metric])
        handles = [
            Line2D(
                [], [], linestyle="", marker=look[m].marker, color=look[m].color,
                markersize=_size(look[m]), markeredgecolor="white", markeredgewidth=0.5,
                label=m + _lost(rows, m),
            )
            for m in roles
        ]  # fmt: skip
        if region:
            handles.append(Patch(label="95 % of retrained models", **_REGION))
        figure.legend(handles=handles, loc="outside right upper", fontsize=8.5)
        figure.supxlabel("fratio: share of samples that show what was to be forgotten", fontsize=9)
    return figure


def utility_axis(results: Mapping[str, Any], metric: str) -> Axis:
    """Returns a scale that shows the neighborhood of retraining, however bad the worst method is.

    FID is logarithmic, up to 30 times the mean of the retrained models, or of the best method if
    there are none. nelbo, which may be negative, is linear, up to 30 % of its size above.
    """
    seeds = {m: by_seed(results["rows"], m, metric) for m in roles_of(results)}
    means = {m: np.mean([*values.values()]) for m, values in seeds.items() if values}
    if not means:
        return Axis(False, 0.0, 1.0)
    values = [v for m in means for v in seeds[m].values()]
    retrained = with_role("yardstick", results)
    base = means.get(retrained, min(means.values()))
    region = _predicted(results["rows"], retrained, metric)
    log = metric == "fid_retain" and min(values) > 0
    if log:
        kept = [v for v in values if v <= 30 * base]
        return Axis(True, min(kept, default=base) / 1.35, max(kept, default=base) * 1.5)
    reach = max(0.3 * abs(base), 4 * (region.high - region.low) if region else 0.0, 1e-9)
    kept = [v for v in values if v <= base + reach] + ([*region] if region else [])
    low, high = min(kept, default=base), max(kept, default=base)
    room = max(0.08 * (high - low), 0.01 * abs(base), 1e-9)
    return Axis(False, low - room, high + 2 * room)


_REGION = {"facecolor": "none", "edgecolor": PALETTE[2], "hatch": "//", "linewidth": 1}


def _predicted(rows: Sequence[dict], retrained: str | None, metric: str) -> Interval | None:
    values = [*by_seed(rows, retrained, metric).values()]
    return prediction_interval(values) if len(values) > 1 else None


def _draw_region(axes: "Axes", x: Interval, y: Interval) -> None:
    from matplotlib.patches import Rectangle

    bottom = max(y.low, axes.get_ylim()[0])
    left, right = max(x.low, LEFT), max(x.high, 0)
    axes.add_patch(Rectangle((left, bottom), right - left, y.high - bottom, zorder=1, **_REGION))


def _draw(
    axes: "Axes",
    rows: Sequence[dict],
    method: str,
    metric: str,
    look: Style,
    axis: Axis,
    order: float,
) -> None:
    across, up = by_seed(rows, method, X), by_seed(rows, method, metric)
    points = np.array([(across[seed], up[seed]) for seed in across if seed in up])
    if not len(points):
        return
    style = {"linestyle": "", "marker": look.marker, "color": look.color, "clip_on": False}
    # A marker over the edge must not move the axes.
    style["in_layout"] = False
    seen = points[points[:, 1] <= axis.high]
    axes.plot(*seen.T, **style, markersize=3.2, alpha=0.5, markeredgewidth=0, zorder=order)
    mean = points.mean(axis=0)
    if mean[1] > axis.high:
        axes.plot(
            mean[0], 0.97, **style, markersize=_size(look), fillstyle="none", markeredgewidth=1.5,
            transform=axes.get_xaxis_transform(), zorder=order + 2,
        )  # fmt: skip
        return
    if len(points) > 1:
        reach = [
            np.abs(np.array(bootstrap_interval(column)) - column.mean())[:, None]
            for column in points.T
        ]
        axes.errorbar(
            *mean, xerr=reach[0], yerr=reach[1], color=look.color, alpha=0.55, linewidth=1,
            zorder=order + 1,
        )  # fmt: skip
    axes.plot(
        *mean, **style, markersize=_size(look), markeredgecolor="white", markeredgewidth=0.6,
        zorder=order + 2,
    )  # fmt: skip


def _frame(axes: "Axes", rows: Sequence[dict], axis: Axis) -> None:
    axes.set_xscale("symlog", linthresh=1e-3, linscale=0.5)
    ticks = [0, 1e-3, 1e-2, 1e-1, 0.3, 1]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    largest = max((row.get(X) or 0 for row in rows), default=1.0)
    axes.set_xlim(LEFT, min(1.0, max(2 * largest, 0.01)))
    if axis.log:
        axes.set_yscale("log")
        steps = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
        steps = [step for step in steps if axis.low <= step <= axis.high]
        axes.set_yticks(steps, [f"{step:g}" for step in steps])
    axes.minorticks_off()
    axes.set_ylim(axis.low, axis.high)
    if axis.log and len(axes.get_yticks()) < 2:
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.set_yticks([axis.low * 1.1, axis.high / 1.1])


def _size(look: Style) -> float:
    return 11.0 if look.marker == "*" else 7.5


def _lost(rows: Sequence[dict], method: str) -> str:
    lost = sum(row["method"] == method and bool(row.get("diverged")) for row in rows)
    return f" ({lost} diverged)" if lost else ""
