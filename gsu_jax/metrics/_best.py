"""Values of a method by seed, and the method that is clearly best."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gsu_jax.metrics._seeds import separated

LARGER_IS_BETTER = ("coverage", "density")


def best(rows: Sequence[dict], metric: str, *, larger: bool | None = None) -> str | None:
    """The method whose interval is separated from every other on the better side.

    A method with a diverged seed is no candidate, because luck chose the seeds that survived. A
    candidate with one seed has no interval, so nothing is best beside it.

    Args:
        rows: Rows of the candidates, as in results.json, without the baseline and the yardstick.
        metric: A key of the rows.
        larger: Whether more is better; None decides by the metric (coverage, density).

    Returns:
        The name of the method, or None if no method is separated from all others.

    Example:
        >>> values = {"a": (1.0, 1.1), "b": (2.0, 2.1)}
        >>> rows = [
        ...     {"method": method, "seed": seed, "fid": value}
        ...     for method, found in values.items()
        ...     for seed, value in enumerate(found)
        ... ]
        >>> best(rows, "fid")
        'a'
    """
    larger = metric in LARGER_IS_BETTER if larger is None else larger
    methods = dict.fromkeys(row["method"] for row in rows)
    diverged = {row["method"] for row in rows if row.get("diverged")}
    values = {m: [*by_seed(rows, m, metric).values()] for m in methods if m not in diverged}
    known = {m: v for m, v in values.items() if v}
    if len(known) < 2 or min(map(len, known.values())) < 2:
        return None
    sign = -1 if larger else 1
    first = min(known, key=lambda m: sign * np.mean(known[m]))
    rivals = [v for m, v in known.items() if m != first]
    return first if all(separated(known[first], rival) for rival in rivals) else None


def by_seed(rows: Sequence[dict], method: str, metric: str) -> dict[Any, float]:
    """The values of a method by seed.

    Args:
        rows: As in results.json.
        method: Name of the method.
        metric: A key of the rows.

    Returns:
        Seed -> value, for the seeds that did not diverge and have a finite value.

    Example:
        >>> by_seed([{"method": "a", "seed": 3, "fid": 1.5}], "a", "fid")
        {3: 1.5}
    """
    values = {
        row.get("seed"): row.get(metric)
        for row in rows
        if row["method"] == method and not row.get("diverged")
    }
    return {s: float(v) for s, v in values.items() if v is not None and math.isfinite(v)}
