"""The results as HTML tables for the report."""

from collections.abc import Mapping, Sequence
from html import escape

from gsu_jax.metrics import LARGER_IS_BETTER, YARDSTICKS, best, by_seed, prediction_interval
from gsu_jax.report._comparison import ENSEMBLE, RIVALS
from gsu_jax.report._numbers import (
    ABOVE,
    BELOW,
    INSIDE,
    NONE,
    Findings,
    findings,
    mean_and_deviation,
    number,
    place_of,
    ratio_of,
    seeds_of,
    worst_seed,
)
from gsu_jax.report._terminal import HEADINGS

COLUMNS = {
    "fratio": "fratio ↓",
    "inception_score": "IS",
    "fid": "FID<br>all data",
    "fid_retain": "FID<br>retained ↓",
    "nelbo_retain": "nelbo<br>retained ↓",
    "nelbo_forget": "nelbo<br>forgotten",
    "coverage": "coverage ↑",
    "seconds": "seconds ↓",
}
# Where less (coverage: more) than the retrained models is no fault.
ONE_SIDED = ("fratio", "fid_retain", "nelbo_retain", "coverage")
SHAPES = {INSIDE: "●", ABOVE: "▲", BELOW: "▼"}
NEAR = 1.1  # outside, but by no more than this ratio


def main_table(rows: Sequence[dict]) -> str:
    """The HTML table: mean and deviation, place in the ensemble, ratio, worst seed."""
    found = findings(rows)
    first = {metric: best(rows, metric) for metric in (*ONE_SIDED, "seconds")}
    head = "".join(f"<th>{heading}</th>" for heading in COLUMNS.values())
    body = []
    for method in found.methods:
        cells = "".join(
            _cell(rows, found, method, metric, method == first.get(metric)) for metric in COLUMNS
        )
        kind = ' class="yardstick"' if method in YARDSTICKS else ""
        seeds, _, lost = seeds_of(found, method).partition(" ")
        seeds += f"<small>{lost}</small>" if lost else ""
        body.append(f'<tr{kind}><th>{_name(method)}</th>{cells}<td class="n">{seeds}</td></tr>')
    return (
        f'<table class="main"><thead><tr><th>method</th>{head}<th>seeds</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def paired_table(rows: Sequence[dict]) -> str:
    """The HTML table of differences from the paper's methods, seed by seed; "" without any."""
    found = findings(rows)
    metrics = ("fratio", "fid_retain", "nelbo_retain")
    pairs = {
        (rival, metric, method): found.places[method, metric][rival]
        for rival in RIVALS
        for metric in metrics
        for method in found.methods
        if found.places.get((method, metric), {}).get(rival)
    }
    rivals = [rival for rival in RIVALS if any(key[0] == rival for key in pairs)]
    if not pairs:
        return ""
    head = "".join(f'<th class="rule" colspan="3">minus {_name(rival)}</th>' for rival in rivals)
    second = "".join(
        f'<th class="{_rule(i)}">{COLUMNS[metric]}</th>'
        for _ in rivals
        for i, metric in enumerate(metrics)
    )
    body = ""
    for method in found.methods:
        if method in YARDSTICKS or not any(key[2] == method for key in pairs):
            continue
        cells = "".join(
            _pair(pairs.get((rival, metric, method)), _rule(i))
            for rival in rivals
            for i, metric in enumerate(metrics)
        )
        body += f"<tr><th>{_name(method)}</th>{cells}</tr>"
    return (
        f'<table class="published"><thead><tr><th rowspan="2">method</th>{head}</tr>'
        f"<tr>{second}</tr></thead><tbody>{body}</tbody></table>"
    )


def cost_table(rows: Sequence[dict]) -> str:
    """The HTML table of what each method takes: seconds, share of a retraining, compilation."""
    found = findings(rows)
    body = ""
    for method in found.methods:
        seconds, steps, compiling = (
            found.means.get((method, metric)) or {"mean": None, "std": None}
            for metric in ("seconds", "steps", "compile_seconds")
        )
        if seconds["mean"] is None:
            continue
        share = (found.places.get((method, "seconds")) or {}).get("ratio")
        bar = f'<i class="bar" style="width:{min(100 * share, 100):.2f}%"></i>' if share else ""
        count = steps["mean"]
        each = number(1000 * seconds["mean"] / count) if count else NONE
        body += (
            f"<tr><th>{_name(method)}</th><td>{mean_and_deviation(seconds)}</td>"
            f"<td>{ratio_of(found, method, 'seconds') or NONE}</td><td class='bars'>{bar}</td>"
            f"<td>{f'{count:,.0f}' if count is not None else NONE}</td><td>{each}</td>"
            f"<td>{mean_and_deviation(compiling)}</td></tr>"
        )
    head = "".join(
        f"<th>{heading}</th>"
        for heading in (
            "method", "seconds", "of a<br>retraining", "", "steps", "ms a step",
            "compilation,<br>seconds apart",
        )
    )  # fmt: skip
    table = f'<table class="cost"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return table if body else ""


def published_table(rows: Sequence[dict], published: Mapping[str, Mapping[str, str]]) -> str:
    """The HTML table of published figures, with ours in the neighbouring column."""
    means = findings(rows).means
    metrics = list(dict.fromkeys(metric for figures in published.values() for metric in figures))
    titles = {m: HEADINGS[m] if m in HEADINGS else m.replace("_", " ") for m in metrics}
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


def _cell(rows: Sequence[dict], found: Findings, method: str, metric: str, first: bool) -> str:
    entry = found.means.get((method, metric))
    if entry is None or entry["mean"] is None:
        lost = found.means[method, "diverged"]["mean"] and metric == "fratio"
        return f'<td class="none">{"diverged" if lost else NONE}</td>'
    mean, _, deviation = mean_and_deviation(entry).partition(" ± ")
    place = place_of(found, method, metric)
    main = f'<abbr title="{place}">{SHAPES[place]}</abbr>' if place else ""
    main += f"<b>{mean}</b>" if first else mean
    main += f" <span>± {deviation}</span>" if deviation else ""
    note = "".join(f"<small>{line}</small>" for line in _notes(rows, found, method, metric) if line)
    return f'<td class="{_grade(found, method, metric)}">{main}{note}</td>'


def _notes(rows: Sequence[dict], found: Findings, method: str, metric: str) -> list[str]:
    """What stands below a mean: its ratio or bound, and the worst seed."""
    worst = worst_seed(rows, method, metric, larger=metric in LARGER_IS_BETTER)
    worst = f"worst {number(worst[0])} <i>#{worst[1]}</i>" if worst else ""
    if method == ENSEMBLE:
        values = [*by_seed(rows, method, metric).values()]
        if metric == "seconds" or len(values) < 2:
            return []
        low, high = prediction_interval(values)
        return [f"{number(low, high)} to {number(high)}", worst if metric in ONE_SIDED else ""]
    if metric == "fratio":
        high = found.means[method, metric]["high"]
        return [f"mean ≤ {number(high)}" if high is not None else "", worst]
    ratio = ratio_of(found, method, metric)
    return [ratio, worst if metric in ONE_SIDED else ""]


def _grade(found: Findings, method: str, metric: str) -> str:
    """A colour beside the shape: as retrained or better, nearly, or not there."""
    place = place_of(found, method, metric)
    if place is None or method in YARDSTICKS:
        return ""
    better = ABOVE if metric in LARGER_IS_BETTER else BELOW
    if place == INSIDE or (metric in ONE_SIDED and place == better):
        return "good"
    if metric not in ONE_SIDED:
        return ""
    ratio = found.places[method, metric]["ratio"]
    if ratio is None:
        return "poor"
    return "fair" if max(ratio, 1 / ratio if ratio else NEAR) <= NEAR else "poor"


def _pair(test: dict | None, rule: str) -> str:
    if test is None:
        return f'<td class="none {rule}">{NONE}</td>'
    low, high = (number(test[end], test["difference"]) for end in ("low", "high"))
    p = f"{test['p']:.3f}" if test["p"] < 0.1 else f"{test['p']:.2f}"
    return (
        f'<td class="{rule}">{number(test["difference"])} <span>p {p}</span>'
        f"<small>{low} to {high}</small></td>"
    )


def _rule(column: int) -> str:
    return "" if column else "rule"


def _name(method: str) -> str:
    # A break is allowed after an underscore, nowhere else.
    return escape(method).replace("_", "_<wbr>")


def _plain_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return number(value)
    return NONE if value is None else str(value)
