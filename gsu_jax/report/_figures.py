"""What the report's plots share, and `curves` along the steps (`front.py` has the other plot).

A method has one colour and one marker in all of them: `styles(methods)`.
"""

import contextlib
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
# Distinct in hue and lightness, legible on white and on near-black.
PALETTE = (
    "#d1495b", "#2e86c1", "#1b998b", "#e08e0b", "#8e5ea2", "#6a994e",
    "#c2185b", "#00838f", "#a1672f", "#5c6bc0", "#b8860b", "#7f8c8d",
)  # fmt: skip
MARKERS = "sD^vPX<>hpd"
BEFORE, INK, SOFT = "#8a8f98", "#1d2129", "#6b7280"
PANELS = {
    "retain_loss": "retain loss",
    "forget_loss": "forget loss",
    "cosine": "cosine with the retain gradient",
}
FONT = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.alpha": 0.18,
    "grid.color": SOFT,
    "grid.linewidth": 0.7,
    "xtick.direction": "out",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "gsu_jax",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}


class Style(NamedTuple):
    """How a method is drawn."""

    color: str
    marker: str


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """One colour and marker a method: grey before, black star retrain, others by their order."""
    fixed = {"before": Style(BEFORE, "o"), "retrain": Style(INK, "*")}
    others = [method for method in methods if method not in fixed]
    drawn = zip(itertools.cycle(PALETTE), itertools.cycle(MARKERS), strict=True)
    free = dict(zip(others, itertools.starmap(Style, drawn), strict=False))
    return {method: fixed.get(method) or free[method] for method in methods}


def curves(histories: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> "Figure":
    """Losses and conflict along the steps: a row a method, mean in bold over the faint seeds.

    The third panel has the cosine of the incoming forget gradient (solid) and that of the step
    that was applied (dashed); below zero they are in conflict with the retain gradient.
    """
    methods = [method for method, seeds in histories.items() if len(seeds)]
    look = styles(methods)
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


def svg(figure: "Figure", name: str) -> str:
    """The figure as an inline SVG element whose ink is the colour of the text around it.

    `name` goes before its ids: several such elements share one page.
    """
    with drawing():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    opening, rest = text.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", opening) + ">" + rest


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """The settings that every plot is made and saved with."""
    # Figure without pyplot: no global state, no display, nothing to close.
    import matplotlib

    with matplotlib.rc_context(FONT):
        yield


def _curve(axes: "Axes", seeds: Sequence, name: str, color: str, line: str = "-") -> bool:
    """Draws one recorded quantity; False where no seed has a finite value of it."""
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
    """Symlog once a loss explodes: a linear axis would show nothing but the last steps."""
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
