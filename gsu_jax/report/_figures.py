"""What all plots of a report share: fonts, the style of each method, inline SVG."""

import contextlib
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure
# Distinct in hue and lightness, legible on white and on near-black.
PALETTE = (
    "#d1495b", "#2e86c1", "#1b998b", "#e08e0b", "#8e5ea2", "#6a994e",
    "#c2185b", "#00838f", "#a1672f", "#5c6bc0", "#b8860b", "#7f8c8d",
)  # fmt: skip
MARKERS = "sD^vPX<>hpd"
BEFORE, INK, SOFT = "#8a8f98", "#1d2129", "#6b7280"
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
    """The color and marker of a method."""

    color: str
    marker: str


def styles(roles: Mapping[str, str]) -> dict[str, Style]:
    """Returns the style of each method, given its role; unlearning methods differ by order."""
    fixed = {"baseline": Style(BEFORE, "o"), "yardstick": Style(INK, "*")}
    free = zip(itertools.cycle(PALETTE), itertools.cycle(MARKERS), strict=True)
    return {
        method: fixed[role] if role in fixed else Style(*next(free))
        for method, role in roles.items()
    }


def svg(figure: "Figure", name: str) -> str:
    """Returns the figure as an inline SVG element in the color of the text around it.

    `name` prefixes the ids of the element, so that several elements can share a page.
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
    """Applies the settings of all plots; wrap drawing and saving in it."""
    # Figure without pyplot: no global state, no display, nothing to close.
    import matplotlib

    with matplotlib.rc_context(FONT):
        yield
