"""`markdown_table`: the results as they are committed under docs/ and in the README."""

from collections.abc import Mapping
from typing import Any

from gsu_jax.metrics import YARDSTICKS, best, by_seed
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
    worst_upper,
)

COLUMNS = {
    "fratio": "fratio ↓",
    "fratio_upper95": "worst 95 % bound",
    "inception_score": "IS",
    "fid_retain": "FID retained ↓",
    "nelbo_retain": "nelbo retained ↓",
    "nelbo_forget": "nelbo forgotten",
    "coverage": "coverage ↑",
    "seconds": "seconds ↓",
}
RANKED = ("fratio", "fid_retain", "nelbo_retain", "coverage", "seconds")
SHAPES = {INSIDE: " ●", ABOVE: " ▲", BELOW: " ▼", None: ""}
VERSIONS = ("gsu-jax", "jax", "flax", "optax")


def markdown_table(results: Mapping[str, Any]) -> str:
    """The table of a study with what it was measured with, and a legend; ends in a newline.

    Mean ± sample deviation over seeds; ● inside, ▲ above, ▼ below the 95 % prediction interval of
    the retrained models; bold where a method's interval lies apart from every other's on the
    better side. Date, hardware, commit and versions come from the results, never from this machine.

    Args:
      results: as in results.json.
    """
    rows = results["rows"]
    if not rows:
        return f"{_made_with(results)}\n\nNo row is finished yet.\n"
    found = findings(rows)
    first = {metric: best(rows, metric) for metric in RANKED}
    lines = [
        f"| method | {' | '.join(COLUMNS.values())} | seeds |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for method in found.methods:
        cells = [_cell(results, found, method, m, first.get(m) == method) for m in COLUMNS]
        name = f"**{method}**" if method in YARDSTICKS else method
        lines.append(f"| {name} | {' | '.join(cells)} | {seeds_of(found, method)} |")
    return "\n".join([_made_with(results), "", *lines, "", _legend(results, found), ""])


def _cell(
    results: Mapping[str, Any], found: Findings, method: str, metric: str, first: bool
) -> str:
    if metric == "fratio_upper95":
        return number(worst_upper(results["rows"], method))
    entry = found.means.get((method, metric))
    text = mean_and_deviation(entry)
    if text == NONE:
        return (
            "diverged" if metric == "fratio" and found.means[method, "diverged"]["mean"] else NONE
        )
    mean, gap, deviation = text.partition(" ± ")
    text = (f"**{mean}**" if first else mean) + gap + deviation
    if metric == "seconds" and (share := ratio_of(found, method, metric)):
        text += f" ({share})"
    return text + SHAPES[place_of(found, method, metric)]


def _made_with(results: Mapping[str, Any]) -> str:
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


def _legend(results: Mapping[str, Any], found: Findings) -> str:
    rows = results["rows"]
    reference = results.get("reference") or {}
    lines = ["Mean ± sample deviation over seeds; seconds without compilation"]
    n = len(by_seed(rows, "retrain", "fratio"))
    if n:
        lines[0] += ", and as a share of a retraining"
    if n > 1:
        lines.append(
            f"● inside, ▲ above, ▼ below the 95 % prediction interval of {n} retrained models"
        )
    if any(best(rows, metric) for metric in RANKED):
        lines.append("bold: best, where 95 % bootstrap intervals over seeds separate")
    if reference.get("samples"):
        samples = f"{reference['samples']:,} samples a model"
        if reference.get("feature_extractor"):
            samples += f", FID on {reference['feature_extractor']}"
        if reference.get("judge_accuracy"):
            samples += f" ({reference['judge_accuracy']:.1%} on test images)"
        lines.append(samples)
    if any(found.means[m, "diverged"]["mean"] for m in found.methods):
        lines.append("diverged seeds are left out of the means")
    return "; ".join(lines) + "."
