"""What can be tested of a panel, declared before unlearning, and what unlearning did to it."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from gsu_jax.audit import bavaria, detectable_shift, one_run_epsilon
from gsu_jax.cli.experiments._panel import Panel
from gsu_jax.metrics import equivalence_test, holm, residual_share

MARGIN = 1.5  # deviations of a retrained model that do not matter
GUESSED = 0.5  # of the panel, where the attack is surest


class Declared(NamedTuple):
    """What the reference models say, before any unlearning.

    Attributes:
        memorization: `[n]`, M(x) in nats: log mean density with x less that without.
        shift: `[n]`, d(x): how far x moves with training on it, in deviations of a model.
        least: The shift from which on an image is testable: what the seeds can see, and more than
            what does not matter.
    """

    memorization: np.ndarray
    shift: np.ndarray
    least: float

    @property
    def testable(self) -> np.ndarray:
        """`[n]`, whether so many models can see the image."""
        return self.shift >= self.least


def declare(phi: np.ndarray, members: np.ndarray, seeds: int) -> Declared:
    """Memorization and shift of each image from models with it and models without it."""

    def log_mean(chosen: np.ndarray) -> np.ndarray:
        return logsumexp(np.where(chosen, phi, -np.inf), axis=0) - np.log(chosen.sum(axis=0))

    inside, outside = (np.where(own, phi, np.nan) for own in (members, ~members))
    means = [np.nanmean(group, axis=0) for group in (inside, outside)]
    variance = sum(np.nanvar(group, axis=0, ddof=1) for group in (inside, outside)) / 2
    shift = (means[0] - means[1]) / np.sqrt(variance)
    least = max(MARGIN, detectable_shift(seeds, seeds))
    return Declared(log_mean(members) - log_mean(~members), shift, least)


def epsilon_of_one_run(
    phi: np.ndarray, reference: np.ndarray, members: np.ndarray, coins: np.ndarray
) -> tuple[float, float]:
    """The median bound of epsilon over models, and the share of guesses that are right.

    The attack guesses the coins of the half of the panel where its score is farthest from 0.
    """
    scores = bavaria(phi, reference, members)
    guesses = math.ceil(GUESSED * len(coins))
    bounds, shares = [], []
    for one in scores:
        surest = np.argsort(-np.abs(one), kind="stable")[:guesses]
        right = int(((one[surest] > 0) == coins[surest]).sum())
        bounds.append(one_run_epsilon(right, guesses))
        shares.append(right / guesses)
    return float(np.median(bounds)), float(np.mean(shares))


def images_after(after: np.ndarray, retrained: np.ndarray, tested: np.ndarray) -> tuple[int, int]:
    """How many testable images are shown to be as retrained, and how many to differ."""
    if not tested.any():
        return 0, 0
    found = [
        equivalence_test(after[:, i], retrained[:, i], MARGIN * retrained[:, i].std(ddof=1))
        for i in np.flatnonzero(tested)
    ]
    margins = MARGIN * retrained[:, tested].std(axis=0, ddof=1)
    equal = holm(np.array([each.p for each in found])) < 0.05
    apart = [e.low > m or e.high < -m for e, m in zip(found, margins, strict=True)]
    return int(equal.sum()), int(np.sum(apart))


def kind_rows(
    panel: Panel,
    chosen: np.ndarray,
    declared: Declared,
    phi: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
    """A row for each method and kind of the images that were to be forgotten."""
    rows = []
    before, retrained = phi["before"], phi["retrain"]
    for method, after in phi.items():
        if method == "retrain":  # with itself
            continue
        for kind in dict.fromkeys(panel.kinds):
            own = chosen & (panel.kinds == kind)
            if not own.any():
                continue
            tested = own & declared.testable
            means = (values[:, own].mean(axis=1) for values in (after, before, retrained))
            rho = residual_share(*means)
            equal, apart = images_after(after, retrained, tested)
            rows.append({
                "method": method, "kind": str(kind), "images": int(own.sum()),
                "rho": _finite(rho.rho), "low": _finite(rho.low), "high": _finite(rho.high),
                "testable": int(tested.sum()), "equal": equal, "apart": apart,
            })  # fmt: skip
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def declared_table(panel: Panel, declared: Declared) -> str:
    """The table of what can be tested."""
    lines = [
        "| kind | images | trained on | M, nats: median (largest) | d: median (largest) | "
        "testable, of those trained on |",
        "|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(panel.kinds):
        own = panel.kinds == kind
        m, d = declared.memorization[own], declared.shift[own]
        asked = own & panel.coins
        lines.append(
            f"| {kind} | {own.sum()} | {asked.sum()} | {np.median(m):.1f} ({m.max():.1f}) | "
            f"{np.median(d):.2f} ({d.max():.2f}) | {(asked & declared.testable).sum()} |"
        )
    return "\n".join(lines)


def rows_table(rows: list[dict[str, Any]]) -> str:
    """The table of what each method does to each kind."""
    lines = [
        "| method | kind | images | rho of the kind as a set | testable | as retrained | differ |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = "no gap to see"
        if row["low"] is not None:
            share = f"{row['rho']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        tested = row["testable"]
        lines.append(
            f"| `{row['method']}` | {row['kind']} | {row['images']} | "
            f"{share} | {tested or 'none'} | "
            f"{row['equal'] if tested else '–'} | {row['apart'] if tested else '–'} |"
        )
    return "\n".join(lines)


def methods_table(rows: list[dict[str, Any]]) -> str:
    """The table of epsilon, utility and time."""
    lines = [
        "| request | method | epsilon of one run | coins guessed | held-out bound | s a model |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        guessed = "" if row["share"] is None else f"{row['share']:.0%}"
        epsilon = "" if row["epsilon"] is None else f"{row['epsilon']:.2f}"
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        lines.append(
            f"| {row['request']} | `{row['method']}` | {epsilon} | {guessed} | "
            f"{row['bound']:.4f}x | {seconds} |"
        )
    return "\n".join(lines)
