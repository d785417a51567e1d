"""The results as plain text."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gsu_jax.checks import import_extra
from gsu_jax.report._columns import DISAGREE, MARKS
from gsu_jax.report._described import RHO
from gsu_jax.report._findings import Findings
from gsu_jax.report._judges import AIMS, ENOUGH
from gsu_jax.report._numbers import number, plus_minus

if TYPE_CHECKING:
    from rich.table import Table

UNLIMITED = 100_000  # columns of a console that never cuts a table


class Column(NamedTuple):
    """A heading and a cell for each method."""

    heading: str
    cells: list[str]


def terminal_table(results: Mapping[str, Any], *, width: int | None = None) -> str:
    """Formats the means over seeds as an aligned table of plain text.

    Beside each mean stand its ratio to the mean of the retrained models and its place in their
    95 % prediction interval: ● inside, ▲ above, ▼ below.

    Args:
        results: As in results.json.
        width: The width of the terminal. A wider table is split into blocks of columns, each with
            the method names. None means one block.

    Returns:
        The table and its legend, without colors and without a final newline.

    Raises:
        ImportError: rich is not installed.

    Example:
        >>> rows = [{"method": "retrain", "seed": s, "fid": 30.0 + s} for s in range(3)]
        >>> print(terminal_table({"rows": rows}))
        method   FID all data  seeds
        ────────────────────────────
        retrain    31.0 ± 1.0      3
    """
    if not results["rows"]:
        return "no results yet"
    found = Findings(results)
    names = Column("method", found.methods)
    blocks: list[list[Column]] = []
    for group in _groups(found):
        if not blocks or (width and _width([names, *blocks[-1], *group]) > width):
            blocks.append([])
        blocks[-1] += group
    tables = [_text([names, *block]) for block in blocks]
    return "\n\n".join([*tables, *_legend(found, width), *_said(found, width)])


def _groups(found: Findings) -> list[list[Column]]:
    """Columns that stay together: a mean with its ratio and mark."""
    groups = []
    for metric, title in ((column.metric, column.title) for column in found.columns):
        entries = [found.mean(method, metric) for method in found.methods]
        if not any((method, metric) in found.means for method in found.methods):
            continue
        places = [_beside(found, method, metric) for method in found.methods]
        means = Column(title, [*map(plus_minus, entries)])
        groups.append([means, Column("", places)] if any(places) else [means])
        if metric == "fratio":
            bounds = [number(entry["high"] if entry else None) for entry in entries]
            worst = [number(found.worst_bound(method)) for method in found.methods]
            groups += [[Column("mean up to", bounds)], [Column("worst 95%", worst)]]
    return [*groups, [Column("seeds", [*map(found.seeds, found.methods)])]]


def _beside(found: Findings, method: str, metric: str) -> str:
    """The ratio and the mark of a mean, or the interval of rho."""
    if metric == RHO:
        return found.share_text(method, metric)
    apart = DISAGREE if found.disagree(method, metric) else ""
    place = MARKS[found.place(method, metric)]
    return f"{found.ratio_text(method, metric)} {place} {apart}".strip()


def _said(found: Findings, width: int | None) -> list[str]:
    """What rho and both judges say of each method, below the tables."""
    blocks = {
        "forgotten images (rho: 0 as retrained, 1 as before):": found.described,
        f"both judges (aims: fratio at most {AIMS['fratio']}× of retraining or "
        f"{ENOUGH['fratio']}, FID retained {AIMS['fid_retain']}×):": found.judged,
    }
    texts = []
    for title, entries in blocks.items():
        lines = [f"  {method}: {verdict} ({figures})" for method, verdict, figures in entries]
        wrapped = [textwrap.fill(x, width or UNLIMITED, subsequent_indent="    ") for x in lines]
        title = textwrap.fill(title, width or UNLIMITED)
        texts += ["\n".join([title, *wrapped])] if lines else []
    return texts


def _table(columns: Sequence[Column]) -> "Table":
    rich_table = import_extra("rich.table", "rich", "terminal_table")
    box = import_extra("rich.box", "rich", "terminal_table").SIMPLE_HEAD
    table = rich_table.Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        justify = "left" if column.heading == "method" else "right"
        table.add_column(column.heading, justify=justify, no_wrap=True)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _console(file: io.StringIO) -> Any:
    console = import_extra("rich.console", "rich", "terminal_table").Console
    plain = {"color_system": None, "markup": False, "emoji": False, "highlight": False}
    return console(file=file, width=UNLIMITED, **plain)


def _width(columns: Sequence[Column]) -> int:
    return _console(io.StringIO()).measure(_table(columns)).maximum


def _text(columns: Sequence[Column]) -> str:
    _console(written := io.StringIO()).print(_table(columns))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _legend(found: Findings, width: int | None) -> list[str]:
    if not any(found.place(*key) for key in found.places):
        return []
    models = found.means[found.yardstick, "diverged"]["n"]
    lines = [
        f"× of the mean of {models} retrained models;",
        "● inside, ▲ above, ▼ below the 95 % interval for one more of them;",
        "mean up to: end of its 95 % interval over seeds.",
    ]
    gap = "\n" if width and width < sum(map(len, lines)) + 2 else " "
    return [gap.join(lines)]
