"""Who wins an arena: the figures of every method on the closed requests, and the tests."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from gsu_jax.metrics import bootstrap_interval, holm, paired_test, prediction_interval
from gsu_jax.report._arena_objective import (
    FIGURES,
    Aims,
    excess,
    level_of,
    relative_figures,
)
from gsu_jax.report._results import with_role

OBJECTIVE = "objective"
NEVER_NEGATIVE = (OBJECTIVE, "fratio", "fid_retain", "seconds")


def default_row(title: str) -> str:
    """Returns the row of a closed request in which a method has its default setting."""
    return f"{title}-default"


def arena_standing(
    chosen: Mapping[str, Any], closed: Mapping[str, Mapping[str, Any]], aims: Aims | None = None
) -> dict[str, Any]:
    """Ranks the methods of an arena by their mean objective on the closed requests.

    The mean of a figure over seeds is that of the means over requests of each seed, and so are
    its bootstrap interval and, for retrained models, its prediction interval. Two methods are
    compared by `paired_test` over (request, seed). The p-values of all pairs of methods are
    corrected by `holm`, since the same figures say which method is the winner.

    Args:
        chosen: The content of chosen.json.
        closed: Request -> the content of its results.json.
        aims: Of the objective; by default those of `chosen`.

    Returns:
        {"closed": requests, "winner", "methods", "before", "retrained"}. An entry of "methods" has
        "method", "runs", "figures" ({"mean", "low", "high", "n"} for the objective and each of its
        sources), "diverged", "met" (how many runs meet all aims) and "against_winner"
        ({"difference", "low", "high", "p", "p_holm", "n"}, or None). "before" and "retrained" are
        entries without the last; "low" and "high" of "retrained" predict one more model. If the
        default setting of a method ran too, its entry without tests is "untuned" there.

    Raises:
        ValueError: No method has a run, or a request has no retrained models.
    """
    aims = Aims(**chosen["aims"]) if aims is None else aims
    levels = {request: level_of(results) for request, results in closed.items()}

    def runs_of(
        method: str, results: Mapping[str, Any], request: str, aims: Aims = aims
    ) -> list[dict]:
        level = levels[request]
        return [
            {"request": request, "seed": row["seed"], "diverged": bool(row.get("diverged"))}
            | relative_figures(row, level, aims)
            | {OBJECTIVE: excess(row, level, aims)}
            for row in results["rows"]
            if row["method"] == method
        ]

    def everywhere(method_of: Any, aims: Aims = aims) -> list[dict]:
        return [
            run
            for request, found in closed.items()
            for run in runs_of(method_of(found), found, request, aims)
        ]

    entries = []
    for method in chosen["methods"]:
        if runs := everywhere(lambda _, name=method: name):
            entries.append(_entry(method, runs))
            name = default_row(method)
            if runs := everywhere(lambda _, name=name: name):
                entries[-1]["untuned"] = _entry(name, runs)
    if not entries:
        raise ValueError("closed must have rows of the chosen methods, got none")
    entries.sort(key=lambda entry: entry["figures"][OBJECTIVE]["mean"])
    tests = _tests(entries)
    for entry in entries:
        entry["against_winner"] = tests.get((entries[0]["method"], entry["method"]))
    standing = {"closed": [*closed], "winner": entries[0]["method"], "methods": entries}
    for name, role in (("before", "baseline"), ("retrained", "yardstick")):
        # Their time is that of a training, so it is none of their aims.
        untimed = aims._replace(seconds=None)
        runs = everywhere(lambda results, role=role: with_role(role, results), untimed)
        if name == "before":
            runs = [run | {"seconds": None} for run in runs]
        standing[name] = _entry(name, runs, one_more=name == "retrained")
    return standing


def _entry(method: str, runs: Sequence[dict], one_more: bool = False) -> dict[str, Any]:
    names = (OBJECTIVE, *FIGURES)
    return {
        "method": method,
        "runs": [*runs],
        "figures": {name: _over_seeds(runs, name, one_more) for name in names},
        "diverged": sum(run["diverged"] for run in runs),
        "met": sum(run[OBJECTIVE] <= 1 for run in runs),
    }


def _over_seeds(runs: Sequence[dict], name: str, one_more: bool) -> dict[str, Any]:
    """The mean of a figure with its interval over the means of the seeds, as far as it is known."""
    by_seed: dict[Any, list[float]] = {}
    for run in runs:
        if run[name] is not None:
            by_seed.setdefault(run["seed"], []).append(run[name])
    means = [float(np.mean(values)) for values in by_seed.values()]
    low = high = None
    if len(means) > 1:
        low, high = (prediction_interval if one_more else bootstrap_interval)(means)
        low = max(low, 0.0) if name in NEVER_NEGATIVE else low
    return {
        "mean": float(np.mean(means)) if means else None,
        "low": low,
        "high": high,
        "n": len(means),
    }


def _tests(entries: Sequence[dict]) -> dict[tuple[str, str], dict[str, Any]]:
    """(better, worse) -> their paired test, for all pairs with two or more common runs."""
    objectives = [
        {(run["request"], run["seed"]): run[OBJECTIVE] for run in entry["runs"]}
        for entry in entries
    ]
    tests = {}
    for i, j in combinations(range(len(entries)), 2):
        common = [key for key in objectives[i] if key in objectives[j]]
        if len(common) > 1:
            pair = [[objectives[k][key] for key in common] for k in (j, i)]
            tests[entries[i]["method"], entries[j]["method"]] = paired_test(*pair)._asdict()
    corrected = holm([test["p"] for test in tests.values()])
    for test, p in zip(tests.values(), corrected, strict=True):
        test["p_holm"] = float(p)
    return tests
