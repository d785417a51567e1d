"""`compare`: every method held against the retrained ensemble and against the paper's methods."""

from collections.abc import Sequence

import numpy as np

from gsu_jax.metrics import by_seed, paired_test, position, prediction_interval
from gsu_jax.report._results import methods_of, metrics_of

ENSEMBLE = "retrain"
RIVALS = ("gradient_ascent", "gradient_surgery")
# What a run costs has no place among what retrained models cost: only ratios are of use.
COSTS = ("steps", "seconds", "compile_seconds")


def compare(rows: Sequence[dict]) -> list[dict]:
    """Where every method but retrain stands, metric by metric; diverged rows are left out.

    Args:
      rows: as in results.json.

    Returns:
      A list of entries in the order of `rows`:

      - "method", "metric"
      - "ratio": its mean over the retrained models' mean; None where one of them is negative or
        the latter zero.
      - "predicted_low", "predicted_high": the 95 % prediction interval for one more retrained
        model; "z", "inside": the place of the method's mean in it; "seeds_inside": how many of
        its seeds are. None with fewer than two retrained models, and for costs.
      - "gradient_ascent", "gradient_surgery": {"difference", "low", "high", "p", "n"} of the
        method minus that one, paired over the seeds that both have; None with fewer than two,
        and for the method itself.
    """
    return [
        _entry(rows, method, metric)
        for method in methods_of(rows)
        if method != ENSEMBLE
        for metric in metrics_of(rows, method)
    ]


def _entry(rows: Sequence[dict], method: str, metric: str) -> dict:
    own = by_seed(rows, method, metric)
    ensemble = [*by_seed(rows, ENSEMBLE, metric).values()]
    place = dict.fromkeys(
        ("ratio", "predicted_low", "predicted_high", "z", "inside", "seeds_inside")
    )
    if own and ensemble:
        mean, base = np.mean([*own.values()]), np.mean(ensemble)
        place["ratio"] = float(mean / base) if base > 0 and mean >= 0 else None
    if own and len(ensemble) > 1 and metric not in COSTS:
        z, inside, _ = position(mean, ensemble)
        place["predicted_low"], place["predicted_high"] = prediction_interval(ensemble)
        place["z"] = float(z) if np.isfinite(z) else None
        place["inside"] = bool(inside)
        place["seeds_inside"] = int(position([*own.values()], ensemble).inside.sum())
    paired = {rival: _paired(own, rows, method, rival, metric) for rival in RIVALS}
    return {"method": method, "metric": metric, **place, **paired}


def _paired(own: dict, rows: Sequence[dict], method: str, rival: str, metric: str) -> dict | None:
    other = by_seed(rows, rival, metric)
    seeds = [seed for seed in own if seed in other]
    if method == rival or len(seeds) < 2:
        return None
    return paired_test([own[s] for s in seeds], [other[s] for s in seeds])._asdict()
