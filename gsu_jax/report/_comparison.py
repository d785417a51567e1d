"""Compares every method with the retrained ensemble and with the paper's methods."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gsu_jax.metrics import (
    EVIDENCE_METRICS,
    RESIDUAL_METRICS,
    by_seed,
    paired_test,
    position,
    prediction_interval,
)
from gsu_jax.report._judges import AIMS, verdicts
from gsu_jax.report._results import methods_of, with_role
from gsu_jax.report._summary import metrics_of

RIVALS = ("gradient_ascent", "gradient_surgery")
# A cost has no place in the ensemble: only its ratio to the cost of retraining matters.
COSTS = ("steps", "seconds", "compile_seconds")
NO_RATIO = (*EVIDENCE_METRICS, *RESIDUAL_METRICS)  # log p(x) and its differences


def compare(results: Mapping[str, Any]) -> list[dict]:
    """Compares the methods with the retrained models, per metric; diverged rows are left out.

    Args:
        results: As in results.json; of its keys, "rows" is needed.

    Returns:
        A list of entries in the order of the rows, without the retrained models:

        - "method", "metric".
        - "ratio": the mean over the mean of the retrained models; None if the mean is negative or
          the mean of the retrained models is not positive, and for log p(x) and its differences.
        - "predicted_low", "predicted_high": the 95 % prediction interval for one more retrained
          model. "z", "inside": the place of the method's mean in it. "seeds_inside": how many of
          its seeds lie inside. All None for costs and with fewer than two retrained models.
        - "judges_agree": of fratio and `fid_retain`, where rows have a second judge: whether both
          judges see the aim reached (fratio at most 1.5 times the retrained mean or 0.005, FID at
          most 1.1 times), or both see it missed. "aims_met": what the first and the second see.
        - "gradient_ascent", "gradient_surgery": {"difference", "low", "high", "p", "n"}, the
          method minus that method, paired over common seeds; None with fewer than two seeds, and
          for that method itself.

    Example:
        >>> rows = [{"method": "retrain", "seed": s, "fid": 30.0 + s} for s in range(3)]
        >>> (entry,) = compare({"rows": [*rows, {"method": "fine_tune", "seed": 0, "fid": 62.0}]})
        >>> entry["ratio"], entry["inside"]
        (2.0, False)
    """
    yardstick = with_role("yardstick", results)
    rows = results["rows"]
    return [
        _entry(results, method, metric, yardstick)
        for method in methods_of(rows)
        if method != yardstick
        for metric in metrics_of(rows, method)
    ]


def _entry(results: Mapping[str, Any], method: str, metric: str, yardstick: str | None) -> dict:
    own = by_seed(results["rows"], method, metric)
    ensemble = [*by_seed(results["rows"], yardstick, metric).values()]
    place = dict.fromkeys(
        ("ratio", "predicted_low", "predicted_high", "z", "inside", "seeds_inside")
    )
    if own and ensemble:
        mean, base = np.mean([*own.values()]), np.mean(ensemble)
        comparable = base > 0 and mean >= 0 and metric not in NO_RATIO
        place["ratio"] = float(mean / base) if comparable else None
    if own and len(ensemble) > 1 and metric not in COSTS:
        z, inside, _ = position(mean, ensemble)
        place["predicted_low"], place["predicted_high"] = prediction_interval(ensemble)
        place["z"] = float(z) if np.isfinite(z) else None
        place["inside"] = bool(inside)
        place["seeds_inside"] = int(position([*own.values()], ensemble).inside.sum())
    paired = {
        rival: None if rival == method else _paired(own, by_seed(results["rows"], rival, metric))
        for rival in RIVALS
    }
    return {
        "method": method,
        "metric": metric,
        **place,
        **_judges(results, method, metric),
        **paired,
    }


def _judges(results: Mapping[str, Any], method: str, metric: str) -> dict:
    met = verdicts(results, method, metric) if metric in AIMS else None
    return {} if met is None else {"judges_agree": met[0] == met[1], "aims_met": [*met]}


def _paired(own: dict, other: dict) -> dict | None:
    seeds = [seed for seed in own if seed in other]
    if len(seeds) < 2:
        return None
    return paired_test([own[s] for s in seeds], [other[s] for s in seeds])._asdict()
