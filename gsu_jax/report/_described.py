"""How the forgotten images are still described: the residual share of their evidence."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gsu_jax.metrics import by_seed, equivalence_test, residual_share
from gsu_jax.report._numbers import number
from gsu_jax.report._results import methods_of, roles_of, with_role

RHO, PHI = "rho", "phi_forget"
LIMIT = 0.25  # the part of the gap, on either side of retraining, that does not matter
AS_RETRAINED = "described as a retrained model describes them"
AS_TRAINED_ON = "still described as if trained on"
OVER_FORGOTTEN = "over-forgotten"
OPEN = "not decided"


def residual_shares(results: Mapping[str, Any]) -> list[dict]:
    """Computes rho of every unlearning method: the residual share of `phi_forget`.

    rho = (mean U - mean R) / (mean before - mean R) over the seeds that U and the model before have
    in common, and all retrained models R. Diverged rows and rows without `phi_forget` are left out.

    Args:
        results: As in results.json; of its keys, "rows" is needed.

    Returns:
        Entries as those of `summarize`, with the metric "rho". `low` and `high` are the 95 %
        interval of `gsu_jax.metrics.residual_share`; None with fewer than two seeds or retrained
        models, and if the gap is not clear of zero. `std` is None. `n` counts the seeds. A method
        without a seed in common with the model before has no entry.

    Example:
        >>> def row(method, seed, phi):
        ...     return {"method": method, "seed": seed, "phi_forget": phi + seed}
        >>> models = {"before": -20.0, "retrain": -24.0, "fine_tune": -21.0}
        >>> rows = [row(m, seed, phi) for m, phi in models.items() for seed in (0, 1)]
        >>> (entry,) = residual_shares({"rows": rows})
        >>> entry["method"], entry["mean"], entry["n"]
        ('fine_tune', 0.75, 2)
    """
    roles = roles_of(results)
    shares = []
    for method in methods_of(results["rows"]):
        figures = _figures(results, method) if roles[method] == "method" else None
        if figures is not None:
            shares.append({"method": method, "metric": RHO, **_share(*figures)})
    return shares


class Description(NamedTuple):
    """What rho says of a method.

    Attributes:
        method: The method.
        verdict: In words.
        figures: rho with its interval; for a verdict of equality also the test and its power. Where
            rows have e of single images, also the share that lies outside.
    """

    method: str
    verdict: str
    figures: str


def descriptions(results: Mapping[str, Any]) -> list[Description]:
    """Says of every method with a rho how the forgotten images are described."""
    found = []
    for entry in residual_shares(results):
        verdict, figures = verdict_of(entry), _text(entry)
        if verdict == AS_RETRAINED:
            figures += f"; {_equality(results, entry['method'])}"
        elif verdict == OPEN:
            crosses = "" if entry["low"] is None else f"crosses ±{LIMIT}, "
            figures += f"; {crosses}run more seeds"
        figures += _one_by_one(results, entry["method"])
        found.append(Description(entry["method"], verdict, figures))
    return found


def verdict_of(entry: Mapping[str, Any]) -> str:
    """Returns the verdict on an entry of `residual_shares`, by its whole interval."""
    low, high = entry["low"], entry["high"]
    if low is None:
        return OPEN
    if max(-low, high) <= LIMIT:
        return AS_RETRAINED
    if low > LIMIT:
        return AS_TRAINED_ON
    return OVER_FORGOTTEN if high < -LIMIT else OPEN


def interval_text(entry: Mapping[str, Any] | None) -> str:
    """Formats the interval of an entry: "0.411 to 0.484", or an empty string."""
    if entry is None or entry["low"] is None:
        return ""
    return f"{number(entry['low'])} to {number(entry['high'])}"


def _text(entry: Mapping[str, Any]) -> str:
    interval = interval_text(entry)
    return f"rho {number(entry['mean'])}, " + (interval if interval else "no interval")


def _equality(results: Mapping[str, Any], method: str) -> str:
    """The test of equality behind a verdict, with its power."""
    unlearned, before, retrained = _figures(results, method) or ((), (), ())
    test = equivalence_test(unlearned, retrained, LIMIT * abs(np.mean(before) - np.mean(retrained)))
    return (
        f"two one-sided tests within {LIMIT} of the gap: p {test.p:.3f}, power {test.power:.2f} "
        f"with {len(unlearned)} against {len(retrained)} models"
    )


def _one_by_one(results: Mapping[str, Any], method: str) -> str:
    """The share of single images that are described unlike by retrained models."""
    own, retrained = (
        [
            f"{100 * np.mean([*values.values()]):.0f} %"
            for metric in ("e_forget_outside", "e_retain_outside")
            if name and (values := by_seed(results["rows"], name, metric))
        ]
        for name in (method, with_role("yardstick", results))
    )
    if not len(own) == len(retrained) == 2:
        return ""
    return (
        f"; outside: {own[0]} of forgotten, {own[1]} of retained images "
        f"(of a retrained model {' and '.join(retrained)})"
    )


def _figures(results: Mapping[str, Any], method: str) -> tuple[Sequence[float], ...] | None:
    """Returns phi of the method and the model before at common seeds, and of retrained models."""
    own, before, retrained = (
        by_seed(results["rows"], name, PHI) if name else {}
        for name in (method, with_role("baseline", results), with_role("yardstick", results))
    )
    seeds = [seed for seed in own if seed in before]
    if not seeds or not retrained:
        return None
    return [own[s] for s in seeds], [before[s] for s in seeds], [*retrained.values()]


def _share(
    unlearned: Sequence[float], before: Sequence[float], retrained: Sequence[float]
) -> dict[str, Any]:
    level = np.mean(retrained)
    gap = np.mean(before) - level
    mean = float((np.mean(unlearned) - level) / gap) if gap else None
    low, high = None, None
    if min(len(unlearned), len(retrained)) > 1:
        _, low, high, _ = residual_share(unlearned, before, retrained)
        if not np.isfinite(low):
            low = high = None
    return {"mean": mean, "std": None, "low": low, "high": high, "n": len(unlearned)}
