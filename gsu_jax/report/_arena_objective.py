"""The objective of an arena: how far a run is from retraining, in one number."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gsu_jax import checks
from gsu_jax.metrics import by_seed
from gsu_jax.report._described import PHI
from gsu_jax.report._results import with_role

LEAST_FRATIO = 0.005  # a fratio that is small enough, whatever that of retrained models
WORST = 20.0  # of any run; a model before unlearning has at most log(1.5 / 0.005) / log 1.5 = 14
FIGURES = ("fratio", "fid_retain", "nelbo_retain", "rho", "seconds")


class Aims(NamedTuple):
    """What a run should reach, as ratios to the mean of the retrained models.

    Attributes:
        fratio: Largest ratio of fratio, where a retrained model counts as at least 0.005 / fratio.
        fid_retain: Largest ratio of the retained FID.
        nelbo_retain: Largest ratio of the retained nelbo.
        rho: Largest residual share of phi, on either side of 0.
        seconds: Largest share of a retraining's time; None if time does not count.
    """

    fratio: float = 1.5
    fid_retain: float = 1.1
    nelbo_retain: float = 1.01
    rho: float = 0.25
    seconds: float | None = None

    def check(self) -> None:
        """Raises ValueError if an aim is out of its range."""
        checks.above(1, **{name: getattr(self, name) for name in FIGURES[:3]})
        checks.above(0, rho=self.rho)
        if self.seconds is not None:
            checks.above(0, seconds=self.seconds)

    def text(self) -> str:
        """The objective as a formula; see `excess`."""
        terms = [
            f"log(f / f_R) / log {self.fratio:g}",
            f"log(F / F_R) / log {self.fid_retain:g}",
            f"(n - n_R) / ({self.nelbo_retain - 1:.3g} |n_R|)",
            f"|rho| / {self.rho:g}",
        ]
        if self.seconds is not None:
            terms.append(f"t / ({self.seconds:g} t_R)")
        return (
            f"J = max({', '.join(terms)}) of fratio f, retained FID F and nelbo n, and the share "
            f"rho of phi; 0 as retrained, 1 if all aims are just met, at most {WORST:g}"
        )


class Level(NamedTuple):
    """What the figures of a request are relative to.

    Attributes:
        retrained: Metric -> mean of the retrained models.
        phi_before: Seed -> phi of forgotten images under the model before unlearning.
    """

    retrained: dict[str, float]
    phi_before: dict[Any, float]


def level_of(results: Mapping[str, Any]) -> Level:
    """Returns the level of a study with the model before and retrained models.

    Raises:
        ValueError: The study has no retrained model with a fratio and an FID.
    """
    rows, retrained = results["rows"], with_role("yardstick", results) or ""
    values = {m: by_seed(rows, retrained, m) for m in (*FIGURES, PHI)}
    means = {metric: float(np.mean([*v.values()])) for metric, v in values.items() if v}
    if not {"fratio", "fid_retain"} <= means.keys():
        raise ValueError(
            "results must have rows of retrained models with fratio and fid_retain, which all "
            "figures are relative to"
        )
    return Level(means, by_seed(rows, with_role("baseline", results) or "", PHI))


def relative_figures(row: Mapping[str, Any], level: Level, aims: Aims) -> dict[str, float | None]:
    """Returns `FIGURES` of a row relative to retraining.

    fratio, FID and seconds are ratios; nelbo is 1 + (nelbo - R) / |R|, so that it may be negative;
    rho is (phi - R) / (phi before of this seed - R). A missing figure is None.
    """
    base, found = level.retrained, dict.fromkeys(FIGURES)

    def has(metric: str) -> bool:
        value = row.get(metric)
        return metric in base and value is not None and math.isfinite(value)

    if has("fratio"):
        found["fratio"] = row["fratio"] / max(base["fratio"], LEAST_FRATIO / aims.fratio)
    for metric in ("fid_retain", "seconds"):
        if has(metric) and base[metric] > 0:
            found[metric] = row[metric] / base[metric]
    if has("nelbo_retain") and base["nelbo_retain"]:
        away = row["nelbo_retain"] - base["nelbo_retain"]
        found["nelbo_retain"] = 1 + away / abs(base["nelbo_retain"])
    if has(PHI) and level.phi_before:
        every = float(np.mean([*level.phi_before.values()]))
        gap = level.phi_before.get(row["seed"], every) - base[PHI]
        found["rho"] = (row[PHI] - base[PHI]) / gap if gap else None
    return found


def excess(row: Mapping[str, Any], level: Level, aims: Aims) -> float:
    """The objective J of a run: its distance from retraining in units of the aims, at the worst.

        J = max( log(f / f_R) / log 1.5,  log(F / F_R) / log 1.1,  (n - n_R) / (0.01 |n_R|),
                 |rho| / 0.25 )

    f is fratio, F the retained FID, n the retained nelbo; f_R is at least 0.005 / 1.5. With
    `Aims.seconds` the share of a retraining's time over that aim is a fifth term. J is 0 at the
    level of retraining, at most 1 if and only if all aims are met, and cut off at 20. A run that
    diverged, or lacks a figure that other models of its request have, is at 20.

    Args:
        row: Of results.json.
        level: What it is relative to, from `level_of`.
        aims: What should be reached.

    Returns:
        A number from 0 to 20.

    Example:
        >>> level = Level({"fratio": 0.01, "fid_retain": 20.0, "nelbo_retain": 100.0}, {})
        >>> row = {"seed": 0, "fratio": 0.015, "fid_retain": 19.0, "nelbo_retain": 100.5}
        >>> round(excess(row, level, Aims()), 6)
        1.0
    """
    if row.get("diverged"):
        return WORST
    found, terms = relative_figures(row, level, aims), [0.0]
    for metric in ("fratio", "fid_retain"):
        ratio = found[metric]
        if ratio is None:
            return WORST
        terms.append(math.log(ratio) / math.log(getattr(aims, metric)) if ratio > 0 else 0.0)
    if level.retrained.get("nelbo_retain"):
        if found["nelbo_retain"] is None:
            return WORST
        terms.append((found["nelbo_retain"] - 1) / (aims.nelbo_retain - 1))
    if PHI in level.retrained and level.phi_before:
        if not math.isfinite(math.nan if row.get(PHI) is None else row[PHI]):
            return WORST
        terms.append(abs(found["rho"] or 0.0) / aims.rho)
    if aims.seconds is not None:
        if found["seconds"] is None:
            return WORST
        terms.append(found["seconds"] / aims.seconds)
    return float(min(max(terms), WORST))
