"""Plots losses and cosines along the steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gsu_jax.report._figures import SOFT, Style, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
PANELS = {
    "retain_loss": "retain loss",
    "forget_loss": "forget loss",
    "cosine": "cosine with the retain gradient",
}


def curves(
    histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]], look: Mapping[str, Style]
) -> "Figure":
    """Plots losses and conflict along the steps: one row a method, mean in bold, seeds faint.

    The third panel shows the cosine with the retain gradient of the incoming forget gradient
    (solid) and of the applied step (dashed); below zero they are in conflict.

    Args:
        histories: Method -> a mapping for each seed, at least one, of names to arrays `[steps]`.
        look: The style of each method.
    """
    methods = list(histories)
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        figure = Figure(figsize=(10.6, 0.7 + 1.7 * len(methods)), layout="constrained")
        grid = figure.subplots(len(methods), len(PANELS), squeeze=False)
        for method, line in zip(methods, grid, strict=True):
            color = look[method].color
            for name, axes in zip(PANELS, line, strict=True):
                drawn = _curve(axes, histories[method], name, color)
                if name == "cosine":
                    drawn |= _curve(axes, histories[method], "applied_cosine", color, "--")
                if not drawn:
                    _leave_empty(axes)
                elif name == "cosine":
                    axes.axhline(0, color=SOFT, linewidth=0.8, zorder=1)
                    axes.set_ylim(-1.05, 1.05)
                    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
                else:
                    _loss_scale(axes)
            line[0].set_ylabel(method.replace("_", "\n"), color=color, fontweight="bold")
        for axes, title in zip(grid[0], PANELS.values(), strict=True):
            axes.set_title(title, loc="left")
        for axes in grid[-1]:
            axes.set_xlabel("step")
        handles = [
            Line2D([], [], color=SOFT, linestyle=line, label=label)
            for line, label in (("-", "forget gradient"), ("--", "applied step"))
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _curve(axes: "Axes", seeds: Sequence, name: str, color: str, line: str = "-") -> bool:
    """Draws a recorded quantity; returns False if no seed has a finite value."""
    runs = [np.asarray(seed[name], np.float64).reshape(-1) for seed in seeds if name in seed]
    runs = [np.where(np.isfinite(run), run, np.nan) for run in runs]
    runs = [run for run in runs if np.isfinite(run).any()]
    if not runs:
        return False
    table = np.full((len(runs), max(map(len, runs))), np.nan)
    for row, run in zip(table, runs, strict=True):
        row[: len(run)] = run
    # More points than pixels make a heavy page and no better picture.
    shown = np.unique(np.linspace(0, table.shape[1] - 1, 400).astype(int))
    table = table[:, shown]
    if len(runs) > 1:
        axes.plot(shown + 1, table.T, line, color=color, alpha=0.28, linewidth=0.8)
    count = np.isfinite(table).sum(axis=0)
    mean = np.where(count, np.nansum(table, axis=0) / np.maximum(count, 1), np.nan)
    axes.plot(shown + 1, mean, line, color=color, linewidth=1.8, solid_capstyle="round")
    return True


def _leave_empty(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.text(0.5, 0.5, "not recorded", ha="center", color=SOFT, transform=axes.transAxes)


def _loss_scale(axes: "Axes") -> None:
    """Symlog if a loss explodes: a linear axis would show the last steps only."""
    values = np.abs(np.concatenate([line.get_ydata() for line in axes.lines]))
    values = values[np.isfinite(values)]
    middle, largest = np.median(values), values.max()
    first = np.abs([line.get_ydata()[0] for line in axes.lines])
    start = np.nanmedian(first) if np.isfinite(first).any() else middle
    base = max(min(middle, start), 1e-6)
    if largest < 30 * base:
        return
    threshold = 10.0 ** np.floor(np.log10(base))
    axes.set_yscale("symlog", linthresh=threshold)
    low, high = np.log10(threshold), np.log10(largest)
    stride = max(1, int(np.ceil((high - low) / 4)))
    exponents = np.arange(int(low), int(high) + 1, stride)
    axes.set_yticks(10.0**exponents, [f"$10^{{{e}}}$" for e in exponents])
    axes.minorticks_off()
