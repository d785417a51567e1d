"""`terminal_table`: the results as plain text."""

from collections.abc import Sequence

from gsu_jax.report._numbers import (
    ABOVE,
    BELOW,
    INSIDE,
    Findings,
    findings,
    mean_and_deviation,
    number,
    place_of,
    ratio_of,
    seeds_of,
    worst_upper,
)

HEADINGS = {
    "fratio": "fratio",
    "inception_score": "IS",
    "fid": "FID",
    "fid_retain": "FID retain",
    "nelbo_retain": "nelbo retain",
    "nelbo_forget": "nelbo forget",
    "coverage": "coverage",
    "seconds": "seconds",
}
SIGNS = {INSIDE: "=", ABOVE: ">", BELOW: "<", None: ""}


def terminal_table(results: dict, *, width: int | None = None) -> str:
    """The means over seeds as aligned plain text, the same on a terminal and in a pipe.

    Beside a mean stand its ratio to the retrained models' and "=", ">" or "<": inside, above or
    below their 95 % prediction interval.

    Args:
      results: as in results.json.
      width: columns of the terminal; a wider table is cut into blocks below one another, each
        with the method names. None leaves it in one block.
    """
    rows = results["rows"]
    if not rows:
        return "no results yet"
    found = findings(rows)
    methods = found.methods
    groups = []
    for metric, heading in HEADINGS.items():
        means = [mean_and_deviation(found.means.get((m, metric))) for m in methods]
        groups.append(_beside(_column(heading, means), _places(found, metric)))
        if metric == "fratio":
            uppers = [number((found.means.get((m, metric)) or {}).get("high")) for m in methods]
            worst = [number(worst_upper(rows, m)) for m in methods]
            groups += [_column("mean up to", uppers), _column("worst 95%", worst)]
    groups.append(_column("seeds", [seeds_of(found, m) for m in methods]))
    names = _column("method", methods, left=True)
    blocks = "\n\n".join(
        "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
        for lines in _blocks(names, groups, width)
    )
    return blocks + _legend(found, width)


def _blocks(
    names: Sequence[str], groups: Sequence[Sequence[str]], width: int | None
) -> list[list[str]]:
    """Groups of columns side by side, as many in a block as fit."""
    blocks, used = [], 0
    for group in groups:
        size = len(group[0]) + 2
        if not blocks or (width and used + size > width):
            blocks.append([names])
            used = len(names[0])
        blocks[-1].append(group)
        used += size
    return [["  ".join(cells).rstrip() for cells in zip(*b, strict=True)] for b in blocks]


def _places(found: Findings, metric: str) -> list[str]:
    """Ratio and sign of each method, or nothing where no method has one."""
    ratios = [ratio_of(found, m, metric).replace(" %", "%") for m in found.methods]
    signs = [SIGNS[place_of(found, m, metric)] for m in found.methods]
    return _beside(_column("", ratios), _column("", signs), gap=" ")


def _beside(left: Sequence[str], right: Sequence[str], gap: str = "  ") -> list[str]:
    if not right[0]:
        return list(left)
    return [f"{a}{gap}{b}" for a, b in zip(left, right, strict=True)]


def _column(heading: str, cells: Sequence[str], *, left: bool = False) -> list[str]:
    column = [heading, *cells]
    size = max(map(len, column))
    return [cell.ljust(size) if left else cell.rjust(size) for cell in column]


def _legend(found: Findings, width: int | None) -> str:
    if not any(place_of(found, *key) for key in found.places):
        return ""
    n = found.means["retrain", "diverged"]["n"]
    lines = [
        f"× of the mean of {n} retrained models;",
        "= inside, > above, < below the 95 % interval for one more of them;",
        "mean up to: end of its 95 % interval over seeds.",
    ]
    gap = "\n" if width and width < sum(map(len, lines)) + 2 else " "
    return "\n\n" + gap.join(lines)
