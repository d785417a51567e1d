"""The table of an arena, as Markdown and as comma-separated values."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from gsu_jax.report._arena_objective import LEAST_FRATIO
from gsu_jax.report._arena_standing import OBJECTIVE
from gsu_jax.report._markdown import made_with
from gsu_jax.report._numbers import NONE, number

HEADINGS = {
    OBJECTIVE: "J",
    "fratio": "fratio",
    "fid_retain": "FID retained",
    "nelbo_retain": "nelbo retained",
    "rho": "rho forgotten",
    "seconds": "time",
}
BRIEF = dict(zip(HEADINGS, ("J", "fratio", "FID", "nelbo", "rho", "time"), strict=True))
TITLES = (
    "method", "settings", "J tuning (default)", *HEADINGS.values(),
    "all aims met", "behind the winner", "p (Holm)",
)  # fmt: skip


def arena_markdown(arena: Mapping[str, Any]) -> str:
    """Formats the content of arena.json as a Markdown table, best method first."""
    lines = [f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES)]
    for entry in _entries(arena):
        lines.append(f"| {' | '.join(_cells(entry, arena))} |")
    winner, least = arena["winner"], LEAST_FRATIO / arena["aims"]["fratio"]
    return "\n".join(
        [
            made_with(arena),
            f"Tuned on {', '.join(arena['tuning']['requests'])}, {arena['trials']} trials a "
            f"method; closed: {', '.join(arena['closed'])}.",
            "",
            *lines,
            "",
            f"Winner: {winner}. {arena['objective']}. fratio, FID and nelbo are ratios to the "
            f"mean of the retrained models, whose fratio counts as at least {least:.4f}; time is a "
            "share of a retraining. Means over closed requests and seeds, with 95 % bootstrap "
            "intervals over seeds. Retrained: one model, with the interval that predicts one more. "
            "p: sign flips over (request, seed), corrected for all pairs of methods.",
            "",
        ]
    )


def arena_text(arena: Mapping[str, Any]) -> str:
    """Formats the content of arena.json for a terminal: a line for each method, best first."""
    lines = [["method", "J tuning", *BRIEF.values(), "aims met", "p"]]
    for entry in _entries(arena):
        tuned = entry.get("tuning_objective")
        cells = [entry["method"], "" if tuned is None else _text(OBJECTIVE, tuned)]
        cells += [_figure(name, entry["figures"][name], name == OBJECTIVE) for name in BRIEF]
        test = entry.get("against_winner")
        cells.append(f"{entry['met']} of {len(entry['runs'])}")
        lines.append([*cells, f"{test['p_holm']:.2g}" if test else ""])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*rows, "", f"winner: {arena['winner']}. {arena['objective']}"])


def arena_csv(arena: Mapping[str, Any]) -> str:
    """Formats the content of arena.json as comma-separated values, a line for each method."""
    rows = []
    for entry in _entries(arena):
        row = {"method": entry["method"], "settings": settings_text(entry.get("settings", {}))}
        row |= {name: entry.get(name) for name in ("trial", "tuning_objective", "runs")}
        row["runs"] = len(entry["runs"])
        for name, figure in entry["figures"].items():
            row |= {name: figure["mean"], f"{name}_low": figure["low"]}
            row[f"{name}_high"] = figure["high"]
        row |= {"met": entry["met"], "diverged": entry["diverged"]}
        test = entry.get("against_winner") or {}
        row |= {name: test.get(name) for name in ("difference", "p", "p_holm")}
        rows.append(row)
    written = io.StringIO()
    writer = csv.DictWriter(written, [*rows[0]], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def settings_text(settings: Mapping[str, Any]) -> str:
    """Formats settings: "learning_rate 0.0005, when conflict"."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
    )


def _entries(arena: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """A line of the table each: every method with its default setting below it, if that ran."""
    methods = [line for entry in arena["methods"] for line in (entry, entry.get("untuned")) if line]
    return [*methods, arena["before"], arena["retrained"]]


def _cells(entry: Mapping[str, Any], arena: Mapping[str, Any]) -> Sequence[str]:
    tuned = "tuning_objective" in entry
    cells = [f"**{entry['method']}**" if entry["method"] == arena["winner"] else entry["method"]]
    cells.append(settings_text(entry["settings"]) if tuned else "")
    tuning = (entry.get("tuning_objective"), entry.get("default_objective"))
    cells.append(f"{_text(OBJECTIVE, tuning[0])} ({_text(OBJECTIVE, tuning[1])})" if tuned else "")
    cells += [_figure(name, entry["figures"][name]) for name in HEADINGS]
    lost = f" ({entry['diverged']} diverged)" if entry["diverged"] else ""
    cells.append(f"{entry['met']} of {len(entry['runs'])}{lost}")
    test = entry.get("against_winner")
    if test is None:
        return [*cells, "", ""]
    cells.append(f"{_text(OBJECTIVE, test['difference'])} [{_ends(test, '')}]")
    return [*cells, f"{test['p_holm']:.2g}"]


def _figure(name: str, figure: Mapping[str, Any], interval: bool = True) -> str:
    if figure["mean"] is None:
        return NONE
    unit = {"fratio": "x", "fid_retain": "x", "nelbo_retain": "x", "seconds": " %"}.get(name, "")
    scale = 100 if name == "seconds" else 1
    shown = interval and figure["low"] is not None
    ends = f" [{_ends(figure, name)}]" if shown else ""
    return f"{_text(name, scale * figure['mean'])}{unit}{ends}"


def _ends(figure: Mapping[str, Any], name: str) -> str:
    scale = 100 if name == "seconds" else 1
    return ", ".join(_text(name, scale * figure[end]) for end in ("low", "high"))


def _text(name: str, value: float) -> str:
    if abs(value) >= 100:
        return number(value)
    return f"{value:.3f}" if name == "nelbo_retain" else f"{value:.2f}"
