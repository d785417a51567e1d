"""The results as a Markdown table, as docs/ and the README show them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gsu_jax.report._columns import DISAGREE, MARKS, Column
from gsu_jax.report._findings import Findings
from gsu_jax.report._numbers import NONE, mean_and_deviation, number

VERSIONS = ("gsu-jax", "jax", "flax", "optax")


def markdown_table(results: Mapping[str, Any]) -> str:
    """Formats the results as a Markdown table, with their provenance above and a legend below.

    Cells are mean ± sample deviation over seeds; ● inside, ▲ above, ▼ below the 95 % prediction
    interval of the retrained models; bold if the interval of a method lies apart from all others on
    the better side. Date, hardware, commit and versions are those of the results. Where the results
    have phi, a list says how each method's models describe the forgotten images; where they have a
    second judge, another says whether both judges agree, and ≠ marks where they do not.

    Args:
        results: As in results.json.

    Returns:
        The table; ends in a newline.

    Example:
        >>> print(markdown_table({"experiment": "digits", "rows": []}))
        `digits`: unknown.
        <BLANKLINE>
        No row is finished yet.
        <BLANKLINE>
    """
    if not results["rows"]:
        return f"{made_with(results)}\n\nNo row is finished yet.\n"
    found = Findings(results)
    shown, bounded = shown_columns(found), has_bound(found)
    headings = [column.heading.replace("|", r"\|") for column in shown]
    headings[1:1] = ["worst 95 % bound"] * bounded
    lines = [
        f"| method | {' | '.join(headings)} | seeds |",
        "|---" * (len(headings) + 2) + "|",
    ]
    for method in found.methods:
        cells = [_cell(found, method, column) for column in shown]
        cells[1:1] = [number(found.worst_bound(method))] * bounded
        name = method if found.roles[method] == "method" else f"**{method}**"
        lines.append(f"| {name} | {' | '.join(cells)} | {found.seeds(method)} |")
    says = [f"- {method}: {verdict} ({figures})." for method, verdict, figures in found.described]
    says[:0] = ["", "Forgotten images:", ""] if says else []
    seen = [f"- {method}: {verdict} ({figures})." for method, verdict, figures in found.judged]
    says += ["", "Both judges:", "", *seen] if seen else []
    return "\n".join([made_with(results), "", *lines, "", legend(results, found), *says, ""])


def shown_columns(found: Findings) -> list[Column]:
    """The columns of a table on paper: all but the FID of all data."""
    return [column for column in found.columns if column.metric != "fid"]


def has_bound(found: Findings) -> bool:
    """Whether the first column is fratio, which has a bound."""
    return found.columns[0].metric == "fratio"


class Parts(NamedTuple):
    """What stands in a cell: a mean, whether it is the best, what follows it, and ≠ or nothing."""

    mean: str
    best: bool = False
    deviation: str = ""
    share: str = ""
    place: str | None = None
    apart: str = ""


def parts(found: Findings, method: str, column: Column) -> Parts:
    """Returns what the cell of a method shows, in text without markup."""
    metric = column.metric
    mean, deviation = mean_and_deviation(found.mean(method, metric))
    if mean == NONE:
        return Parts("diverged" if column == found.columns[0] and found.diverged(method) else NONE)
    share = found.share_text(method, metric)
    return Parts(
        mean,
        method == found.best.get(metric),
        f" ± {deviation}" if deviation else "",
        f" ({share})" if share else "",
        found.place(method, metric),
        f" {DISAGREE}" if found.disagree(method, metric) else "",
    )


def _cell(found: Findings, method: str, column: Column) -> str:
    part = parts(found, method, column)
    mean = f"**{part.mean}**" if part.best else part.mean
    return f"{mean}{part.deviation}{part.share} {MARKS[part.place]}".rstrip() + part.apart


def made_with(results: Mapping[str, Any]) -> str:
    """One line: the experiment, date, hardware, commit and versions, as far as they are known."""
    environment = results.get("environment") or {}
    versions = environment.get("versions") or {"jax": environment.get("jax")}
    cpus = environment.get("cpus")
    facts = [
        (environment.get("date") or "")[:10],
        ", ".join(environment.get("devices") or [])
        + (f" ({cpus} CPU core{'s' * (cpus > 1)})" if cpus else ""),
        f"commit {environment['git']}" if environment.get("git") else "",
        ", ".join(f"{name} {versions[name]}" for name in VERSIONS if versions.get(name)),
    ]
    return f"`{results['experiment']}`: {'; '.join(fact for fact in facts if fact) or 'unknown'}."


def legend(results: Mapping[str, Any], found: Findings) -> str:
    """One line: what the marks of a table mean, and what it was measured with."""
    reference = results.get("reference") or {}
    lines = ["Mean ± sample deviation over seeds; seconds without compilation"]
    if found.retrained:
        lines[0] += ", and as a share of a retraining"
    if found.retrained > 1:
        lines.append(
            "● inside, ▲ above, ▼ below the 95 % prediction interval of "
            f"{found.retrained} retrained models"
        )
    if found.described:
        lines.append("rho: 0 as retrained, 1 as before, with its 95 % bootstrap interval")
    if found.judged:
        lines.append("≠: the judges disagree on whether the aim is reached")
    if any(found.best.values()):
        lines.append("bold: best, if 95 % bootstrap intervals over seeds separate")
    if reference.get("samples"):
        samples = f"{reference['samples']:,} samples a model"
        if reference.get("feature_extractor"):
            samples += f", FID on {reference['feature_extractor']}"
        if reference.get("judge_accuracy"):
            samples += f" ({reference['judge_accuracy']:.1%} on test images)"
        lines.append(samples)
        second = reference.get("second_judge") or {}
        if second.get("judge_accuracy"):
            lines.append(
                f"2nd judge: {second['feature_extractor']} ({second['judge_accuracy']:.1%})"
            )
    if any(map(found.diverged, found.methods)):
        lines.append("the means exclude diverged seeds")
    return "; ".join(lines) + "."
