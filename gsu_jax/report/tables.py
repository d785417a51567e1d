"""The results as tables: plain text for the terminal, HTML for the report."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from gsu_jax.report.results import methods_of, summarise

# metric -> (short heading for the terminal, heading for the page)
COLUMNS = {
    "fratio": ("fratio", "fratio ↓"),
    "inception_score": ("IS", "IS"),
    "fid": ("FID", "FID<br>all data"),
    "fid_retain": ("FID retain", "FID<br>retained ↓"),
    "nelbo_retain": ("nelbo retain", "nelbo<br>retained ↓"),
    "nelbo_forget": ("nelbo forget", "nelbo<br>forgotten"),
    "coverage": ("coverage", "coverage ↑"),
    "seconds": ("seconds", "seconds ↓"),
}
COMPARED = ("fid", "fid_retain", "nelbo_retain", "nelbo_forget", "coverage", "seconds")
NONE = "–"

Summary = dict[tuple[str, str], dict]


def terminal_table(results: dict, *, width: int | None = None) -> str:
    """The means over seeds as aligned plain text, the same on a terminal and in a pipe.

    Args:
      results: as in results.json.
      width: columns of the terminal; a wider table is cut into blocks below one another, each
        with the method names. None leaves it in one block.
    """
    rows = results["rows"]
    if not rows:
        return "no results yet"
    means = summary_of(rows)
    columns = [["method", *methods_of(rows)]]
    for metric, (heading, _) in COLUMNS.items():
        cells = [mean_and_deviation(means.get((m, metric))) for m in columns[0][1:]]
        columns.append([heading, *cells])
        if metric == "fratio":
            worst = [number(worst_upper(rows, m)) for m in columns[0][1:]]
            columns.append(["worst 95%", *worst])
    columns.append(["seeds", *(_seeds(means[m, "diverged"]) for m in columns[0][1:])])
    padded = [_pad(column, left=i == 0) for i, column in enumerate(columns)]
    blocks, names, used = [], padded[0], 0
    for column in padded[1:]:
        size = len(column[0]) + 2
        if not blocks or (width and used + size > width):
            blocks.append([names])
            used = len(names[0])
        blocks[-1].append(column)
        used += size
    lines = [[("  ".join(cells)).rstrip() for cells in zip(*b, strict=True)] for b in blocks]
    return "\n\n".join("\n".join([b[0], "-" * max(map(len, b)), *b[1:]]) for b in lines)


def main_table(rows: Sequence[dict]) -> str:
    """The HTML table: mean and deviation over seeds, ratio to retraining, best values marked."""
    means = summary_of(rows)
    methods = methods_of(rows)
    best = _best(means, [m for m in methods if m not in ("before", "retrain")])
    head = "".join(f"<th>{heading}</th>" for _, heading in COLUMNS.values())
    body = []
    for method in methods:
        cells = "".join(_cell(rows, means, method, metric, best) for metric in COLUMNS)
        kind = "yardstick" if method in ("before", "retrain") else ""
        seeds, _, lost = _seeds(means[method, "diverged"]).partition(" ")
        seeds += f"<small>{lost}</small>" if lost else ""
        body.append(
            f'<tr class="{kind}"><th>{_name(method)}</th>{cells}<td class="n">{seeds}</td></tr>'
        )
    return (
        f'<table class="main"><thead><tr><th>method</th>{head}<th>seeds</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def published_table(rows: Sequence[dict], published: Mapping[str, Mapping[str, str]]) -> str:
    """The HTML table of published figures, with ours in the neighbouring column."""
    means = summary_of(rows)
    metrics = list(dict.fromkeys(metric for figures in published.values() for metric in figures))
    titles = {m: COLUMNS[m][0] if m in COLUMNS else m.replace("_", " ") for m in metrics}
    head = "".join(f'<th colspan="2">{escape(titles[m])}</th>' for m in metrics)
    second = '<th class="rule">published</th><th>here</th>' * len(metrics)
    body = ""
    for method, figures in published.items():
        cells = "".join(
            f'<td class="rule">{escape(str(figures.get(m, NONE)))}</td>'
            f"<td>{mean_and_deviation(means.get((method, m)))}</td>"
            for m in metrics
        )
        body += f"<tr><th>{_name(method)}</th>{cells}</tr>"
    return (
        f'<table class="published"><thead><tr><th rowspan="2">method</th>{head}</tr>'
        f"<tr>{second}</tr></thead><tbody>{body}</tbody></table>"
    )


def seeds_table(rows: Sequence[dict]) -> str:
    """The HTML table of every row as it is in results.json."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = ""
    for row in rows:
        kind = ' class="diverged"' if row.get("diverged") else ""
        cells = "".join(f"<td>{escape(_plain_cell(row.get(name)))}</td>" for name in names)
        body += f"<tr{kind}>{cells}</tr>"
    return f'<table class="seeds"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def summary_of(rows: Sequence[dict]) -> Summary:
    """`summarise(rows)` by (method, metric)."""
    return {(entry["method"], entry["metric"]): entry for entry in summarise(rows)}


def worst_upper(rows: Sequence[dict], method: str) -> float | None:
    """The largest 95 % upper bound of fratio among the method's seeds that did not diverge."""
    bounds = [
        row.get("fratio_upper95")
        for row in rows
        if row["method"] == method and not row.get("diverged")
    ]
    return max((b for b in bounds if b is not None and math.isfinite(b)), default=None)


def number(value: float | None, like: float | None = None) -> str:
    """A figure with three significant digits or so; `like` sets the decimals where given."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value if like is None else like)
    if max(size, abs(value)) >= 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    digits = (3 if size >= 0.01 else 2) - math.ceil(math.log10(size)) if size else 3
    return f"{value:.{min(max(digits, 1), 5)}f}"


def mean_and_deviation(entry: dict | None) -> str:
    """As in "0.153 ± 0.057"; "0.153" for one seed, a dash for none."""
    if entry is None or entry["mean"] is None:
        return NONE
    mean = number(entry["mean"])
    return mean if entry["std"] is None else f"{mean} ± {number(entry['std'], entry['mean'])}"


def _seeds(diverged: dict) -> str:
    """How many seeds a method has, and how many of them diverged, from that summary entry."""
    lost = round(diverged["mean"] * diverged["n"])
    return f"{diverged['n']}" + (f" ({lost} diverged)" if lost else "")


def _pad(column: Sequence[str], *, left: bool) -> list[str]:
    size = max(map(len, column))
    return [cell.ljust(size) if left else cell.rjust(size) for cell in column]


def _name(method: str) -> str:
    # A break is allowed after an underscore, nowhere else.
    return escape(method).replace("_", "_<wbr>")


def _plain_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return number(value)
    return NONE if value is None else str(value)


def _best(means: Summary, methods: Sequence[str]) -> set[tuple[str, str]]:
    """The best of the unlearning methods in each column where more or less is better."""
    best = set()
    for metric in ("fratio", "fid_retain", "nelbo_retain", "coverage", "seconds"):
        found = {m: means[m, metric]["mean"] for m in methods if (m, metric) in means}
        found = {m: value for m, value in found.items() if value is not None}
        if len(found) > 1:
            goal = (max if metric == "coverage" else min)(found.values())
            best |= {(m, metric) for m, value in found.items() if value == goal}
    return best


def _cell(rows: Sequence[dict], means: Summary, method: str, metric: str, best: set) -> str:
    entry = means.get((method, metric))
    if entry is None or entry["mean"] is None:
        lost = means[method, "diverged"]["mean"] and metric == "fratio"
        return f'<td class="none">{"diverged" if lost else NONE}</td>'
    text = mean_and_deviation(entry)
    mean, _, deviation = text.partition(" ± ")
    bold = f"<b>{mean}</b>" if (method, metric) in best else mean
    main = bold + (f" <span>± {deviation}</span>" if deviation else "")
    grade, note = "", ""
    base = means.get(("retrain", metric), {}).get("mean")
    if metric == "fratio":
        upper = worst_upper(rows, method)
        note = f"≤ {number(upper)}" if upper is not None else ""
        grade = _privacy_grade(rows, means, method)
    # A ratio of nats says nothing once one of them is negative (Gaussian likelihoods).
    elif metric in COMPARED and method != "retrain" and min(base or 0, entry["mean"]) > 0:
        ratio = entry["mean"] / base
        note = f"{100 * ratio:.3g} %" if metric == "seconds" else f"{_ratio(ratio)}×"
        if metric in ("fid_retain", "nelbo_retain") and method != "before":
            grade = "good" if ratio <= 1.1 else "fair" if ratio <= 1.5 else "poor"
    small = f"<small>{note}</small>" if note else ""
    return f'<td class="{grade}">{main}{small}</td>'


def _privacy_grade(rows: Sequence[dict], means: Summary, method: str) -> str:
    limit = worst_upper(rows, "retrain")
    before = means.get(("before", "fratio"), {}).get("mean")
    if method in ("before", "retrain") or limit is None:
        return ""
    mean = means[method, "fratio"]["mean"]
    if mean <= limit:
        return "good"
    return "fair" if before and mean <= before / 2 else "poor"


def _ratio(ratio: float) -> str:
    if ratio < 100:
        return f"{ratio:.2f}"
    return f"{ratio:.0f}" if ratio < 1e4 else number(ratio, 1e5)
