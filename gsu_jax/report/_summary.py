"""Summarizes rows over seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from gsu_jax.metrics import bootstrap_interval
from gsu_jax.report._results import methods_of

NOT_METRICS = ("method", "seed", "diverged")


def summarize(rows: Sequence[dict]) -> list[dict]:
    """Computes mean, sample deviation and 95 % interval over seeds, per method and metric.

    The means exclude diverged rows and missing (null, non-finite) values; `n` counts the values.
    The last entry of each method has the metric "diverged": its mean is the share of diverged rows
    among all `n` rows.

    Args:
        rows: As in results.json: "method", "seed", "diverged" and any number of metrics.

    Returns:
        A list of {"method", "metric", "mean", "std", "low", "high", "n"} in the order of `rows`.
        `mean` is None if n = 0. `std` (with n - 1) and the bootstrap interval of the mean, from
        `low` to `high`, are None if n < 2.

    Example:
        >>> rows = [{"method": "retrain", "seed": s, "fid": 30.0 + s} for s in range(3)]
        >>> fid, diverged = summarize(rows)
        >>> fid["mean"], fid["std"], fid["n"]
        (31.0, 1.0, 3)
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
    """Returns the metrics that every row of the method has a number (or null) for."""
    of_method = [row for row in rows if row["method"] == method]
    names = dict.fromkeys(name for row in of_method for name in row if name not in NOT_METRICS)
    return [name for name in names if all(_is_number_or_none(row.get(name)) for row in of_method)]


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
