"""Tables of verdicts in Markdown: what each line says of each method, and of known models."""

from typing import Any, NamedTuple

PERCENT = ("V1 utility", "V2 share", "V11 export", "V13 weights")
# Where the lines fail that are held against nothing that was measured of retrained models.
FAILS = {
    "V0 lineage": "anything differs from the ledger",
    "V1 utility": "above the budget",
    "V2 share": "above a tenth of before, and what retrained models draw",
    "V11 export": "the same",
    "V12 copies": "AUC shown to be above 0.5",
    "V13 weights": "more above all held-out ones than chance, and than any retrained",
    "V3 equivalence": "not shown within 1.5 deviations, and shown to differ",
    "V11 relearning": "not shown within 0.4 of ln AIN, and shown to differ",
    "V14 relative": "shown to be nearer to the originals",
    "V7 epsilon": "above 0.5, and above that of any retrained model",
}
TOLD = ("V6 membership", "V7 epsilon")  # whose sentence says more than a cell can
SELF_TEST = "self-test"
GROUPS = ("retrained", "original", "fine_tuned")


class Column(NamedTuple):
    """What a method got.

    Attributes:
        record: Of `verification.json`; empty if nothing was published.
        verdict: In words.
        rolled_back: Why nothing was published, or "".
    """

    record: dict[str, Any]
    verdict: str
    rolled_back: str


def tables(title: str, columns: dict[str, Column]) -> str:
    """The verdicts of a class, a column for each method, and the self-test of its audit."""
    verified = {name: column.record for name, column in columns.items() if column.record}
    head = [f"### {title}", ""]
    for name, column in columns.items():
        if column.rolled_back:
            head.append(f"`{name}` was rolled back: {column.rolled_back}.\n")
    if not verified:
        return "\n".join([*head, "No method was verified."])
    first = next(iter(verified.values()))
    names = [name for name in first["lines"] if name != SELF_TEST]
    methods = " | ".join(f"`{name}`" for name in verified)
    lines = [
        f"| line | fails | n | {methods} |",
        "|---|---|---|" + "---|" * len(verified),
        *(_row(name, first, verified) for name in names),
        "| **verdict** | | | " + " | ".join(columns[name].verdict for name in verified) + " |",
    ]
    level = first["settings"]["level"]
    return "\n".join([*head, *lines, "", *_told(verified), *_self_test(first, level)])


def _row(name: str, first: dict[str, Any], verified: dict[str, Any]) -> str:
    line = first["lines"][name]
    calibrated = first["calibration"].get(name)
    fails = calibrated["says"].partition(":")[0].removeprefix("fails ") if calibrated else ""
    cells = [_cell(name, record["lines"][name]) for record in verified.values()]
    return f"| {name} | {fails or FAILS.get(name, '')} | {line['n']:,} | {' | '.join(cells)} |"


def _cell(name: str, line: dict[str, Any]) -> str:
    """The verdict, the figure, and the power in brackets."""
    if line["verdict"] == "NOT RUN":
        return f"NOT RUN: {line['says']}"
    figure = line["says"].partition(";")[0] if "; fails " in line["says"] else _figure(name, line)
    said = f"{line['verdict']} {figure} ({line['power']:.2f})"
    return f"**{said}**" if line["verdict"] == "FAILED" else said


def _figure(name: str, line: dict[str, Any]) -> str:
    value = line["statistic"]
    if value is None:
        return "not finite"
    return f"{value:.2%}" if name in PERCENT else f"{value:.3g}"


def _told(verified: dict[str, dict[str, Any]]) -> list[str]:
    said = [
        f"- `{method}`, {name}: {record['lines'][name]['says']}."
        for name in TOLD
        for method, record in verified.items()
        if name in record["lines"]
    ]
    return [*said, ""] if said else []


def _self_test(first: dict[str, Any], level: float) -> list[str]:
    line = first["lines"].get(SELF_TEST)
    if line is None:
        return []
    rows = [
        f"| {name} | {each['says'].partition(':')[0].removeprefix('fails ')} | "
        + " | ".join(f"{each['failed'][group]} of {each['models'][group]}" for group in GROUPS)
        + f" | {each['power']:.2f} |"
        for name, each in first["calibration"].items()
    ]
    return [
        f"Self-test, {line['verdict']}: {line['says']}. Level of a line: {level:.2%}. Failed were:",
        "",
        "| line | fails | held-out retrained | original | fine-tuned | power |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
