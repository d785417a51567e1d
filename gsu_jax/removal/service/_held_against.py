"""Lines that hold one figure of the released model against that of retrained models."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gsu_jax.audit import Line, difference_power, judge
from gsu_jax.metrics import position, prediction_interval
from gsu_jax.removal.service._measures import Figure, Said
from gsu_jax.removal.service._subject import Subject

SEEDS = "base seeds"
LEAST = 3.7  # samples: the upper end of a count of 0


class Held(NamedTuple):
    """How a figure is held against retrained models.

    Attributes:
        figure: The attribute of the subject.
        side: 0 fails on both sides, 1 only above.
        share: Whether the figure is a share of samples, on the scale of `log_share`.
        rows: Whether it is a share of images, as log odds.
    """

    figure: str
    side: int
    share: bool = False
    rows: bool = False

    def show(self, value: float) -> str:
        """Returns a value in the unit of the line."""
        if self.share:
            return f"{math.exp(value):.3%}"
        if self.rows:
            return f"{1 / (1 + math.exp(-value)):.1%}"
        return f"{round(value, 9):.4g}"


HELD = {
    "V2 share, retrained": Held("seen_share", 1, share=True),
    "V3 evidence": Held("described", 0),
    "V4 rows": Held("rows_outside", 1, rows=True),
    "V5 set": Held("known_set", 0),
    "V10 recovery": Held("recovered", 0),
    "V11 further training": Held("share_after_training", 1, share=True),
    "V6 membership": Held("member_auc", 0),
}
UNSEEN = "unseen images"
CONTROLS = {UNSEEN: Held("unseen", 0)}  # where there is nothing to find


class Limits(NamedTuple):
    """What a figure must not exceed; the lower end may be minus infinity.

    Attributes:
        low, high: Of the prediction interval of one more retrained model.
        power: The chance that a model that forgot nothing is outside.
    """

    low: float
    high: float
    power: float

    def hold(self, value: float) -> bool:
        """Whether a figure is inside."""
        return bool(self.low <= value <= self.high)


def effect_of(figure: Figure) -> float:
    """The shift of the original models, in deviations of the retrained ones.

    So a line that PASSED would have seen a model that forgot nothing. `equivalence` asks for more.
    """
    deviation = figure.retrained.std(ddof=1)
    shift = abs(figure.original.mean() - figure.retrained.mean())
    return float(min(shift / deviation if deviation else 1e6 * (shift > 0), 1e6))


def limits_of(figure: Figure, held: Held, samples: int, level: float) -> Limits:
    """The limits of a line, by all retrained models, and its power.

    The power is the smaller one of two: that of a t-test at the mean shift of the originals, which
    takes them to vary as retrained models do, and the share of the originals that are outside.
    """
    low, high = interval_of(figure.retrained, held, samples, level)
    outside = np.mean((figure.original < low) | (figure.original > high))
    power = difference_power(max(effect_of(figure), 1e-9), 1, len(figure.retrained), level)
    return Limits(low, high, float(min(power, outside)))


def interval_of(
    retrained: np.ndarray, held: Held, samples: int, level: float
) -> tuple[float, float]:
    """The prediction interval on the side of the line.

    A share of samples fails only above what a count of 0 already allows.
    """
    low, high = prediction_interval(retrained, level)
    if held.share:
        high = max(high, math.log(math.exp(retrained.mean()) + LEAST / samples))
    return (-math.inf if held.side else low), high


def against(
    name: str,
    value: float,
    retrained: np.ndarray,
    *,
    held: Held,
    samples: int,
    power: float,
    level: float,
    random: str = SEEDS,
) -> Line:
    """One model against retrained ones: FAILED outside their interval."""
    low, high = interval_of(retrained, held, samples, level)
    inside = bool(low <= value <= high)
    z = float(np.clip(position(value, retrained).z, -1e6, 1e6))
    return judge(
        name, z, passed=inside, found=not inside, n=len(retrained), power=power, random=random
    )


def held_against(name: str) -> Callable[[Subject], Said]:
    """The test of a line of `HELD`."""
    held = HELD[name]

    def run(subject: Subject) -> Said:
        figure: Figure = getattr(subject, held.figure)
        limits = limits_of(figure, held, subject.samples, subject.level)
        line = against(
            name, figure.released, figure.retrained, held=held, samples=subject.samples,
            power=limits.power, level=subject.level,
        )  # fmt: skip
        return line, f"{held.show(figure.released)}; {compared(figure, held, limits)}"

    return run


def compared(figure: Figure, held: Held, limits: Limits) -> str:
    """The retrained models, the originals and the limits in words."""
    mean, spread = figure.retrained.mean(), figure.retrained.std(ddof=1)
    around = f" x/÷ {math.exp(spread):.1f}" if held.share or held.rows else f" +- {spread:.2g}"
    return (
        f"retrained {held.show(mean)}{around}, original {held.show(figure.original.mean())}; fails "
        f"{allowed(limits, held)}"
    )


def allowed(limits: Limits, held: Held) -> str:
    """Where a line fails, in words."""
    if math.isinf(limits.low):
        return f"above {held.show(limits.high)}"
    return f"outside [{held.show(limits.low)}, {held.show(limits.high)}]"
