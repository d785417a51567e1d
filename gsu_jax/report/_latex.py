"""The results as a LaTeX table."""

from collections.abc import Mapping
from typing import Any

from gsu_jax.report._columns import ABOVE, BELOW, INSIDE, Column
from gsu_jax.report._findings import Findings
from gsu_jax.report._markdown import has_bound, legend, made_with, parts, shown_columns
from gsu_jax.report._numbers import number

SPECIAL = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "×": r"$\times$",
        "–": "--",
        "≠": r"$\neq$",
    }
)
PLACES = {
    INSIDE: r" $\bullet$",
    ABOVE: r" $\bigtriangleup$",
    BELOW: r" $\bigtriangledown$",
    None: "",
}


def latex_table(results: Mapping[str, Any]) -> str:
    r"""Formats the results as a table of LaTeX's package booktabs.

    The columns and values are those of `markdown_table`. Provenance and legend are comments above
    the table. Inside the retrained models' interval is \bullet, above \bigtriangleup, below
    \bigtriangledown.

    Args:
        results: As in results.json.

    Returns:
        A `tabular` environment; ends in a newline.

    Example:
        >>> rows = [{"method": "fine_tune", "seed": s, "fid_retain": 30.0 + s} for s in range(3)]
        >>> print(latex_table({"experiment": "digits", "rows": rows}).splitlines()[-3])
        fine\_tune & -- & -- & -- & 31.0 $\pm$ 1.0 & -- & -- & -- & -- & 3 \\
    """
    notes = [r"needs \usepackage{booktabs}", made_with(results)]
    if not results["rows"]:
        return "".join(f"% {note}\n" for note in (*notes, "No row is finished yet."))
    found = Findings(results)
    shown, bounded = shown_columns(found), has_bound(found)
    headings = [escape(column.heading) for column in shown]
    headings[1:1] = [escape("worst 95 % bound")] * bounded
    rows = []
    for method in found.methods:
        cells = [_cell(found, method, column) for column in shown]
        cells[1:1] = [escape(number(found.worst_bound(method)))] * bounded
        rows.append(_line(escape(method), *cells, escape(found.seeds(method))))
    lines = [
        *(f"% {note}" for note in (*notes, legend(results, found))),
        rf"\begin{{tabular}}{{l{'r' * (len(headings) + 1)}}}",
        r"\toprule",
        _line("method", *headings, "seeds"),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Replaces the characters that LaTeX reads as commands or lacks in its fonts."""
    return text.translate(SPECIAL)


def _cell(found: Findings, method: str, column: Column) -> str:
    part = parts(found, method, column)
    mean = escape(part.mean)
    text = rf"\textbf{{{mean}}}" if part.best else mean
    return text + escape(part.deviation + part.share) + PLACES[part.place] + escape(part.apart)


def _line(*cells: str) -> str:
    return " & ".join(cells) + r" \\"
