"""Whether both judges of a study give the same verdict on a method."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.metrics import CORRECTED_METRICS, SECOND_METRICS, by_seed
from gsu_jax.report._arena_objective import LEAST_FRATIO, Aims
from gsu_jax.report._numbers import number, times
from gsu_jax.report._results import methods_of, roles_of, with_role

NAMES = {"fratio": "fratio", "fid_retain": "FID"}
AIMS = {name: getattr(Aims(), name) for name in NAMES}  # times the retrained mean
ENOUGH = {"fratio": LEAST_FRATIO}  # met whatever the retrained mean is
# The metric of the first judge -> that of the second.
SECOND = {first: second for second, first in SECOND_METRICS.items()}
BOTH_MET = "agree: fratio and FID reach their aims"
APART = "disagree, not believed: "


def aim_met(metric: str, mean: float, retrained: float) -> bool:
    """Returns whether a mean reaches the aim of `metric`, a metric of the first judge."""
    return mean <= max(AIMS[metric] * retrained, ENOUGH.get(metric, 0.0))


def verdicts(results: Mapping[str, Any], method: str, metric: str) -> tuple[bool, bool] | None:
    """Returns whether the first and the second judge see the aim of `metric` reached.

    None if the method or the retrained models have no figure of one judge.
    """
    yardstick = with_role("yardstick", results)
    met = []
    for each in (metric, SECOND[metric]):
        means = [_mean(results, name, each) for name in (method, yardstick)]
        if None in means:
            return None
        met.append(aim_met(metric, *means))
    return met[0], met[1]


class JudgeVerdict(NamedTuple):
    """What both judges say of a method.

    Attributes:
        method: The method.
        verdict: In words.
        figures: The ratios to retraining and the corrected shares, of the first and second judge.
    """

    method: str
    verdict: str
    figures: str


def judge_verdicts(results: Mapping[str, Any]) -> list[JudgeVerdict]:
    """Says of every unlearning method that both judges have seen whether they agree on its aims."""
    roles, found = roles_of(results), []
    for method in methods_of(results["rows"]):
        both = {metric: verdicts(results, method, metric) for metric in AIMS}
        known = {metric: met for metric, met in both.items() if met is not None}
        if roles[method] == "method" and known:
            found.append(JudgeVerdict(method, _words(known), _figures(results, method, known)))
    return found


def _words(known: Mapping[str, tuple[bool, bool]]) -> str:
    apart = [NAMES[metric] for metric, (first, second) in known.items() if first != second]
    if apart:
        return f"{APART}{' and '.join(apart)}"
    missed = [NAMES[metric] for metric, (first, _) in known.items() if not first]
    if missed:
        return f"agree: {' and '.join(missed)} above the aim"
    return BOTH_MET if len(known) > 1 else f"agree: {NAMES[min(known)]} reaches its aim"


def _figures(results: Mapping[str, Any], method: str, known: Mapping[str, Any]) -> str:
    yardstick = with_role("yardstick", results)
    parts = []
    for metric in known:
        pair = [
            _ratio(_mean(results, method, each), _mean(results, yardstick, each))
            for each in (metric, SECOND[metric])
        ]
        parts.append(f"{NAMES[metric]} {' and '.join(pair)}")
    corrected = CORRECTED_METRICS[0]
    shares = [_mean(results, method, each) for each in (corrected, SECOND[corrected])]
    if None not in shares:
        parts.append(f"share corrected for their errors {' and '.join(map(number, shares))}")
    return "; ".join(parts)


def _ratio(mean: float | None, retrained: float | None) -> str:
    return times(mean / retrained) if mean is not None and retrained else number(mean)


def _mean(results: Mapping[str, Any], method: str | None, metric: str) -> float | None:
    values = by_seed(results["rows"], method, metric) if method else {}
    return float(np.mean([*values.values()])) if values else None
