"""`series`: after each request, what is left of all requests before it."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsu_jax.checks import at_least
from gsu_jax.removal._events import ENDS
from gsu_jax.removal.service._advice import Standing, advise
from gsu_jax.removal.service._case import CURRENT, FACTS, Case
from gsu_jax.removal.service._files import Record, read_json, write_json
from gsu_jax.removal.service._gauge import EVIDENCE, SHARE, Gauge, column, is_open, removed
from gsu_jax.removal.service._standing import of_last_run
from gsu_jax.removal.service._union import unlearn_union
from gsu_jax.storage import CheckpointError

SERIES = "series.json"
RETRAINED, OWN_STEP = "retrained models", "right after its own step"
SAMPLES = 10_000


class Series(NamedTuple):
    """Result of `series`.

    Attributes:
        requests: Their numbers, in the order of their runs: n of them.
        left: Measure -> the matrix F `[n, n]`; see `left_of`. NaN where it was not measured.
        zero: What is 0 in the matrix of the evidence: "retrained models", or "right after its own
            step".
        resurgence: Request -> the largest rise of its row after its own step, over both measures.
        drift: After each step, by which share the bound of held-out retained images got worse since
            the original: `{"increase", "low", "high", "n"}`, or None where it was not measured.
        silent: Request -> why it was not measured.
        union: What the union of all requests from the original checkpoint leaves and how far it
            drifts; None if it was not asked for.
        recommendation: What to do next, and why.
    """

    requests: list[str]
    left: dict[str, np.ndarray]
    zero: str
    resurgence: dict[str, float]
    drift: list[Record | None]
    silent: dict[str, str]
    union: Record | None
    recommendation: str


def left_of(here: float, original: float, zero: float) -> float:
    r"""What is left of a request: one entry of the matrix F.

    .. math::

        F_{ij} = \frac{m_i(\theta_j) - z_{ij}}{m_i(\theta_0) - z_{ij}}

    m_i is the mean evidence of the images of request i, or the share of samples that show its
    class; theta_j is the checkpoint after step j, and theta_0 the original one. z_ij is the mean of
    m_i over models that were retrained without the requests 1 to j. Without such models it is 0 for
    a share, and m_i(theta_i), the value right after the own step of the request, for the evidence.

    So 0 is "as retrained" or "as right after", and 1 is "as in the original". Below 0 the model
    describes the images worse than that. If z is not below the original, the entry is 1 for a
    checkpoint that is no worse than the original, and NaN for another one.

    Args:
        here: m_i of the checkpoint.
        original: m_i of the original checkpoint.
        zero: z_ij.

    Returns:
        The entry.

    Example:
        >>> left_of(-25.0, original=-20.0, zero=-30.0)
        0.5
        >>> left_of(-20.0, original=-20.0, zero=-20.0)
        1.0
    """
    if original > zero:
        return (here - zero) / (original - zero)
    return 1.0 if here >= original else math.nan


def rise_of(left: np.ndarray) -> np.ndarray:
    """The resurgence of each request: how far its row rises above its value after its own step.

    Args:
        left: F `[n, n]`; NaN where nothing was measured.

    Returns:
        `[n]`, at least 0 where something was measured after the own step; else NaN.

    Example:
        >>> rise_of(np.array([[0.1, 0.4, 0.2], [np.nan, 0.0, -0.1], [np.nan, np.nan, 0.0]]))
        array([0.3, 0. , nan])
    """
    found = np.full(len(left), np.nan)
    for i, row in enumerate(left):
        later = row[i + 1 :] - row[i]
        if np.isfinite(later).any():
            found[i] = max(0.0, np.nanmax(later))
    return found


def series(case: Case, *, samples: int = SAMPLES, models: int = 0, union: bool = False) -> Series:
    """Measures again every request of a series, after each step, and writes down what is left.

    A column that was measured stays in `column.json` of its case, also after a purge. Requests
    whose list of images was purged are measured no more. The ledger gets an event `remeasured`,
    signed by the verifier, if something is new.

    Args:
        case: The last request of the series, which was run.
        samples: Of a checkpoint, for shares of samples.
        models: Retrained models at each step; 0 trains none. Requests must say how to train.
        union: Unlearns all requests at once from the original checkpoint too, as a case of its own
            with the number `NUMBER-union`, which is planned and run, and not released.

    Returns:
        A `Series`.

    Raises:
        CheckpointError: The newest checkpoint, or the original for a union, is gone or changed.
        LedgerError: The ledger cannot be written.
        ValueError: The request was not run or has ended, or a union is asked for and a request was
            purged.
    """
    at_least(100, samples=samples)
    at_least(0, models=models)
    verifier = case.key("verifier")
    case.require("ran", "verified", "released", to="measure the series")
    if not is_open(case):
        raise ValueError(f"request {case.number} was purged: its series cannot be measured")
    together = unlearn_union(case) if union else None
    with case.locked():
        case.require("ran", "verified", "released", to="measure the series")
        gauge = Gauge(case, samples)
        steps = [*case.earlier, case]
        columns = [_column(step, gauge, models) for step in steps]
        found = _matrix([step.number for step in steps], columns)
        if together is not None:
            found = found._replace(union=_of_union(together, gauge, found, columns[-1]))
        found = found._replace(recommendation=advise(*_standing(found, case)))
        record = as_record(found)
        write_json(case.folder / SERIES, record)
        done = of_last_run(case, "remeasured")
        if not done or done[-1].predicate != record:
            case.ledger.append(
                "remeasured", case.number, verifier, record, checkpoint=case.checkpoint
            )
    return found


def newest(folder: str | os.PathLike, ledger: str | os.PathLike | None = None) -> str:
    """Returns the number of the request whose checkpoint is the current one.

    Args:
        folder: Of all cases.
        ledger: Where the ledger is, if not in the folder.

    Raises:
        ValueError: No checkpoint was released, or that of no request is the current one.
    """
    weights = ""
    if (Path(folder) / CURRENT).is_file():
        weights = read_json(Path(folder) / CURRENT, "weights")["weights"]
    for path in sorted((Path(folder) / "cases").glob(f"*/{FACTS}")):
        case = Case(folder, path.parent.name, ledger=ledger)
        if weights and case.released and case.checkpoint == weights:
            return case.number
    raise ValueError(
        f"the current checkpoint of {folder} is of no request that was released; give NUMBER"
    )


def _column(step: Case, gauge: Gauge, models: int) -> Record:
    try:
        return column(step, gauge, models)
    except CheckpointError:
        if step.number == gauge.case.number:
            raise
        return {"rows": {}, "silent": {}, "drift": None, "models": 0}


def _matrix(requests: list[str], columns: list[Record]) -> Series:
    n = len(requests)
    measured = [each for each in columns if each["rows"]]
    with_models = bool(measured) and all(each["models"] for each in measured)
    zero = RETRAINED if with_models else OWN_STEP
    left = {measure: np.full((n, n), np.nan) for measure in (EVIDENCE, SHARE)}
    for j, each in enumerate(columns):
        for i, number in enumerate(requests[: j + 1]):
            for measure, row in each["rows"].get(number, {}).items():
                left[measure][i, j] = entry(row, measure, row["retrained"] if with_models else [])
    rises = np.stack([rise_of(matrix) for matrix in left.values()])
    resurgence = {
        number: float(np.nanmax(rises[:, i]))
        for i, number in enumerate(requests)
        if np.isfinite(rises[:, i]).any()
    }
    drift = [each["drift"] for each in columns]
    return Series(requests, left, zero, resurgence, drift, columns[-1]["silent"], None, "")


def entry(row: Record, measure: str, retrained: list[float]) -> float:
    """An entry of F from the figures of a column; NaN where nothing can be told.

    Nothing can be told against retrained models of images that the original knows no better than
    they do, by two of their deviations. A step whose effect is within its error removed nothing.
    """
    here, original, own = row["here"], row["original"], row["own"]
    if here is None or original is None:
        return math.nan
    if retrained:
        zero = float(np.mean(retrained))
        spread = float(np.std(retrained, ddof=1)) if len(retrained) > 1 else 0.0
        return left_of(here, original, zero) if original - zero > 2 * spread else math.nan
    if measure == SHARE:
        return left_of(here, original, 0.0)
    if own is None:
        return math.nan
    if not removed(row):
        error = row["removed_error"] or 0.0
        return 1.0 if here >= original - 1.96 * error else math.nan
    return left_of(here, original, own)


def _of_union(case: Case, gauge: Gauge, found: Series, last: Record) -> Record:
    """The column of the union, against the same zero as the last step of the series."""
    said: Record = {"request": case.number}
    if case.stage in ("undone", *ENDS):
        reason = case.last("undone").predicate["reason"] if case.stage == "undone" else case.stage
        return said | {"left": {}, "drift": None, "says": reason}
    rows = column(case, Gauge(case, gauge.samples), 0)
    with_models = found.zero == RETRAINED
    left: Record = {}
    for number, measures in rows["rows"].items():
        for measure, row in measures.items():
            if number not in last["rows"]:
                continue  # the union itself
            at = last["rows"][number].get(measure, {})
            value = entry(row, measure, at.get("retrained", []) if with_models else [])
            left.setdefault(measure, {})[number] = _number(value)
    return said | {"left": left, "drift": rows["drift"], "says": ""}


def _standing(found: Series, case: Case) -> tuple[Standing, Standing | None, str]:
    """How the series and the union stand."""
    budget, drift = case.facts.get("drift_budget"), found.drift[-1]
    lasts = [matrix[:, -1] for matrix in found.left.values()]
    most = _most([value for last in lasts for value in last])
    rises = max(found.resurgence.values(), default=0.0)
    own = Standing(most, drift["increase"] if drift else math.nan, rises)
    over = bool(budget and drift and drift["high"] is not None and drift["high"] > budget)
    if over:
        return own, None, "the drift budget is spent"
    if found.union is None or not found.union["left"]:
        return own, None, "" if found.union is None else f"the union: {found.union['says']}"
    values = [v for each in found.union["left"].values() for v in each.values()]
    drift = found.union["drift"]
    other = Standing(_most(values), drift["increase"] if drift else math.nan, 0.0)
    return own, other, ""


def _most(values: list[float | None]) -> float:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return max(known, default=math.nan)


def as_record(found: Series) -> Record:
    """What the ledger and `series.json` hold: numbers of requests, and figures."""
    return {
        "requests": found.requests,
        "zero": found.zero,
        "left": {
            measure: [[_number(value) for value in row] for row in matrix]
            for measure, matrix in found.left.items()
            if np.isfinite(matrix).any()
        },
        "resurgence": {number: _number(value) for number, value in found.resurgence.items()},
        "drift": [each and _rounded(each) for each in found.drift],
        "silent": found.silent,
        "union": found.union and found.union | {"drift": _rounded(found.union["drift"])},
        "recommendation": found.recommendation,
    }


def _rounded(record: Record | None) -> Record | None:
    return record and {name: _number(value) for name, value in record.items()}


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
