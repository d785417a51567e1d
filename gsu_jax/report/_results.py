"""`results.json`: written, read back, and summed up over seeds."""

import json
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.metrics import bootstrap_interval
from gsu_jax.storage import write_whole

SCHEMA = 1
NOT_METRICS = ("method", "seed", "diverged")


def summarise(rows: Sequence[dict]) -> list[dict]:
    """Mean, sample deviation and 95 % interval over seeds, for every method and metric.

    Diverged rows and missing (null, non-finite) values are left out of the means; `n` counts what
    went in. The last entry of each method has the metric "diverged": its mean is the share of
    diverged rows among all `n` of them.

    Args:
      rows: as in results.json: "method", "seed", "diverged" and any number of metrics.

    Returns:
      A list of {"method", "metric", "mean", "std", "low", "high", "n"} in the order of `rows`.
      `mean` is None where n = 0; `std` (divided by n - 1) and the bootstrap interval of the mean
      from `low` to `high` are None where n < 2: one seed has no deviation.
    """
    summary = []
    for method in methods_of(rows):
        of_method = [row for row in rows if row["method"] == method]
        alive = [row for row in of_method if not row.get("diverged")]
        for metric in metrics_of(rows, method):
            summary.append(_entry(method, metric, [row.get(metric) for row in alive]))
        diverged = [float(bool(row.get("diverged"))) for row in of_method]
        summary.append(_entry(method, "diverged", diverged))
    return summary


def metrics_of(rows: Sequence[dict], method: str) -> list[str]:
    """What all of the method's rows have a number (or null) for, in the order of its rows."""
    of_method = [row for row in rows if row["method"] == method]
    names = dict.fromkeys(name for row in of_method for name in row if name not in NOT_METRICS)
    return [name for name in names if all(_is_number_or_none(row.get(name)) for row in of_method)]


def methods_of(rows: Sequence[dict]) -> list[str]:
    """The methods in the order of their first row."""
    return list(dict.fromkeys(row["method"] for row in rows))


def write_results(path: str | os.PathLike, results: dict) -> None:
    """Writes `results` as strict JSON, whole or not at all; NaN and infinity become null.

    Raises:
      ValueError: `results` is not of this schema (says what is missing).
      TypeError: a value that JSON cannot hold, named by its place.
      OSError: cannot be written.
    """
    _check(results, "results")
    text = json.dumps(_plain(results, "results"), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")


def read_results(path: str | os.PathLike) -> dict:
    """Reads what `write_results` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: not JSON, not ours, or of another schema; says which, and what to do.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise ValueError(
            f"{path} is not a whole results.json ({error}). Delete it to have it made again."
        ) from error
    _check(results, str(path))
    return results


def _entry(method: str, metric: str, values: Sequence[Any]) -> dict:
    known = [float(value) for value in values if _is_finite(value)]
    mean = statistics.fmean(known) if known else None
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    low, high = bootstrap_interval(known) if len(known) > 1 else (None, None)
    spread = {"mean": mean, "std": std, "low": low, "high": high}
    return {"method": method, "metric": metric, **spread, "n": len(known)}


def _is_number_or_none(value: Any) -> bool:
    return value is None or (
        isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    )


def _is_finite(value: Any) -> bool:
    return value is not None and _is_number_or_none(value) and math.isfinite(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(results: Any, where: str) -> None:
    fix = "Delete it to have it made again, or give another --out."
    if not isinstance(results, dict) or "schema" not in results:
        raise ValueError(f"{where} is no results.json of gsu_jax: it has no 'schema'. {fix}")
    if results["schema"] != SCHEMA:
        raise ValueError(
            f"{where} has schema {results['schema']!r}, this gsu_jax knows {SCHEMA}. {fix}"
        )
    if not isinstance(results.get("experiment"), str):
        raise ValueError(f"{where} has no 'experiment' (its name). {fix}")
    rows = results.get("rows")
    if not isinstance(rows, list):
        raise ValueError(f"{where} has no list 'rows'. {fix}")
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("method"), str):
            raise ValueError(f"{where}: rows[{i}] has no 'method'. {fix}")


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types; NumPy scalars and arrays, tuples and paths are converted."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), where)
    raise TypeError(f"{where} is a {type(value).__name__}, which results.json cannot hold.")
