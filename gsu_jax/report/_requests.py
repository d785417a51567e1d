"""Several requests in one table: each method against the aims, as ratios to retrained models."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.checks import unknown
from gsu_jax.metrics import by_seed
from gsu_jax.report._arena_objective import Aims
from gsu_jax.report._described import LIMIT, residual_shares
from gsu_jax.report._judges import SECOND, aim_met
from gsu_jax.report._markdown import made_with
from gsu_jax.report._numbers import NONE, number
from gsu_jax.report._results import roles_of, with_role

HEADINGS = (
    "data", "forget", "method", "fratio, both judges", "FID retained, both", "nelbo retained",
    "rho", "retained outside", "seeds, retrained",
)  # fmt: skip
OUTSIDE = "e_retain_outside"


class Cell(NamedTuple):
    """A text, and whether the aim is reached; None where there is no aim or no figure."""

    text: str
    met: bool | None = None


class Line(NamedTuple):
    """One method on one request."""

    data: str
    forget: str
    method: str
    cells: tuple[Cell, ...]
    counts: str


def requests_table(
    studies: Sequence[Mapping[str, Any]], methods: Sequence[str] | None = None
) -> str:
    """Formats studies of several requests as one Markdown table, with counts of the aims below.

    A row is a method on a request. fratio and retained FID are ratios to the mean of the retrained
    models, of the first and of the second judge; retained nelbo is a ratio, or a difference in nats
    where the retrained one is not positive. Bold figures miss their aim: fratio at most 1.5 times
    or 0.005, FID at most 1.1 times, both by each judge; nelbo at most 1 % above; the 95 % interval
    of rho inside [-0.25, 0.25].

    Args:
        studies: results, each as in results.json.
        methods: names of rows to show; by default all unlearning methods.

    Returns:
        The table; ends in a newline.

    Raises:
        ValueError: no study is given, one has no retrained model, or none has a given method.

    Example:
        >>> def row(method, fratio):
        ...     return {"method": method, "seed": 0, "fratio": fratio, "diverged": False}
        >>> rows = [row("retrain", 0.02), row("salun", 0.01)]
        >>> study = {"experiment": "digits", "config": {"forget": "1"}, "rows": rows}
        >>> print(requests_table([study]).splitlines()[2])
        | digits | 1 | salun | 0.50x | – | – | – | – | 1, 1 |
    """
    if not studies:
        raise ValueError("studies must hold the results of at least one study, got none")
    lines = [line for study in studies for line in _lines(study, methods)]
    if missing := set(methods or ()) - {line.method for line in lines}:
        roles = {name: role for study in studies for name, role in roles_of(study).items()}
        known = [name for name, role in roles.items() if role == "method"]
        raise unknown("methods", "unlearning method", min(missing), known)
    parts = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for line in lines:
        cells = (f"**{cell.text}**" if cell.met is False else cell.text for cell in line.cells)
        own = (line.data, line.forget, line.method, *cells, line.counts)
        parts.append("| " + " | ".join(text.replace("|", r"\|") for text in own) + " |")
    counted = [_count(lines, method) for method in dict.fromkeys(line.method for line in lines)]
    made = dict.fromkeys(map(made_with, studies))
    return "\n".join([*parts, "", *counted, "", *(f"- {line}" for line in made), ""])


def _lines(study: Mapping[str, Any], methods: Sequence[str] | None) -> list[Line]:
    rows, config = study["rows"], study.get("config") or {}
    yardstick = with_role("yardstick", study)
    data = str(config.get("dataset", study["experiment"]))
    if config.get("classes"):
        data += f" {{{', '.join(map(str, config['classes']))}}}"
    if yardstick is None:
        raise ValueError(
            f"the study of {data}, forget {config.get('forget')}, has no retrained model to "
            'compare with; run it with "retrain" among its --methods'
        )
    shares = {entry["method"]: entry for entry in residual_shares(study)}
    own = [m for m, role in roles_of(study).items() if role == "method"]
    lines = []
    for method in own if methods is None else [m for m in methods if m in own]:
        cells = (
            _both_judges(rows, method, yardstick, "fratio"),
            _both_judges(rows, method, yardstick, "fid_retain"),
            _nelbo(_mean(rows, method, "nelbo_retain"), _mean(rows, yardstick, "nelbo_retain")),
            _rho(shares.get(method)),
            _outside(_mean(rows, method, OUTSIDE), _mean(rows, yardstick, OUTSIDE)),
        )
        counts = ", ".join(str(len(_values(rows, m, "fratio"))) for m in (method, yardstick))
        lines.append(Line(data, str(config.get("forget", "")), method, cells, counts))
    return lines


def _values(rows: Sequence[dict], method: str, metric: str) -> list[float]:
    return [value for value in by_seed(rows, method, metric).values() if value is not None]


def _mean(rows: Sequence[dict], method: str, metric: str) -> float | None:
    values = _values(rows, method, metric)
    return float(np.mean(values)) if values else None


def _both_judges(rows: Sequence[dict], method: str, yardstick: str, metric: str) -> Cell:
    texts, met = [], []
    for each in (metric, SECOND[metric]):
        mean, retrained = _mean(rows, method, each), _mean(rows, yardstick, each)
        if mean is None or retrained is None:
            continue
        met.append(aim_met(metric, mean, retrained))
        texts.append(f"{mean / retrained:.2f}x" if retrained else number(mean))
    return Cell(", ".join(texts), all(met)) if texts else Cell(NONE)


def _nelbo(mean: float | None, retrained: float | None) -> Cell:
    if mean is None or retrained is None:
        return Cell(NONE)
    met = mean - retrained <= (Aims().nelbo_retain - 1) * abs(retrained)
    return Cell(f"{mean / retrained:.3f}x" if retrained > 0 else f"{mean - retrained:+.1f}", met)


def _rho(entry: Mapping[str, Any] | None) -> Cell:
    if entry is None:
        return Cell(NONE)
    if entry["low"] is None:
        return Cell(f"{entry['mean']:.2f}")
    low, high = entry["low"], entry["high"]
    inside = low >= -LIMIT and high <= LIMIT
    return Cell(f"{entry['mean']:.2f} ({low:.2f} to {high:.2f})", inside)


def _outside(mean: float | None, retrained: float | None) -> Cell:
    if mean is None:
        return Cell(NONE)
    return Cell(f"{mean:.0%}" + (f" ({retrained:.0%})" if retrained is not None else ""))


def _count(lines: Sequence[Line], method: str) -> str:
    own = [line.cells for line in lines if line.method == method]

    def reached(chosen: Callable[[tuple[Cell, ...]], Sequence[Cell]]) -> str:
        known = [[c.met for c in chosen(cells) if c.met is not None] for cells in own]
        known = [met for met in known if met]
        return f"{sum(map(all, known))} of {len(known)}"

    return (
        f"- {method}: fratio, FID and nelbo reach their aims on {reached(lambda c: c[:3])} "
        f"requests, rho on {reached(lambda c: c[3:4])}."
    )
