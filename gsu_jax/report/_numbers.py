"""Figures as text: numbers, means, ratios, and the marks of the place in the ensemble."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gsu_jax.metrics import by_seed
from gsu_jax.report._comparison import compare
from gsu_jax.report._results import methods_of, summarise

NONE = "–"
INSIDE, ABOVE, BELOW = "inside", "above", "below"


class Findings(NamedTuple):
    """What a table is made of, each by (method, metric)."""

    methods: list[str]
    means: dict[tuple[str, str], dict]
    places: dict[tuple[str, str], dict]


def findings(rows: Sequence[dict]) -> Findings:
    """`summarise` and `compare` of the rows, to be looked up."""
    means = {(entry["method"], entry["metric"]): entry for entry in summarise(rows)}
    places = {(entry["method"], entry["metric"]): entry for entry in compare(rows)}
    return Findings(methods_of(rows), means, places)


def place_of(found: Findings, method: str, metric: str) -> str | None:
    """Inside, above or below the retrained models' 95 % prediction interval, None if unknown."""
    place = found.places.get((method, metric))
    if place is None or place["inside"] is None:
        return None
    if place["inside"]:
        return INSIDE
    mean = found.means[method, metric]["mean"]
    return ABOVE if mean > place["predicted_high"] else BELOW


def ratio_of(found: Findings, method: str, metric: str) -> str:
    """As in "1.04×", in percent for seconds; empty where there is no ratio."""
    ratio = (found.places.get((method, metric)) or {}).get("ratio")
    if ratio is None:
        return ""
    if metric == "seconds":
        return f"{100 * ratio:.3g} %"
    if ratio < 100:
        return f"{ratio:.2f}×"
    return f"{ratio:.0f}×" if ratio < 1e4 else f"{number(ratio, 1e5)}×"


def worst_upper(rows: Sequence[dict], method: str) -> float | None:
    """The largest 95 % upper bound of fratio (binomial) among the method's living seeds."""
    return max(by_seed(rows, method, "fratio_upper95").values(), default=None)


def worst_seed(
    rows: Sequence[dict], method: str, metric: str, *, larger: bool = False
) -> tuple[float, int] | None:
    """The worst value of a method and its seed; the smallest one where `larger` is better."""
    values = by_seed(rows, method, metric)
    if len(values) < 2:
        return None
    seed = (min if larger else max)(values, key=values.get)
    return values[seed], seed


def number(value: float | None, like: float | None = None) -> str:
    """A figure with three significant digits or so; `like` sets the decimals where given."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value if like is None else like)
    if max(size, abs(value)) >= 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    digits = (3 if size >= 0.01 else 2) - math.ceil(math.log10(size)) if size else 3
    return f"{value:.{min(max(digits, 1), 5)}f}"


def mean_and_deviation(entry: dict | None) -> str:
    """As in "0.153 ± 0.057"; "0.153" for one seed, a dash for none."""
    if entry is None or entry["mean"] is None:
        return NONE
    mean = number(entry["mean"])
    return mean if entry["std"] is None else f"{mean} ± {number(entry['std'], entry['mean'])}"


def seeds_of(found: Findings, method: str) -> str:
    """How many seeds a method has, and how many of them diverged."""
    diverged = found.means[method, "diverged"]
    lost = round(diverged["mean"] * diverged["n"])
    return f"{diverged['n']}" + (f" ({lost} diverged)" if lost else "")
