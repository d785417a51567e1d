"""The self-test of a verification: models whose verdict is known go through its lines."""

import math
from typing import Any, NamedTuple

from gsu_jax.audit import (
    KnownModels,
    Line,
    SelfTest,
    Verdict,
    judge,
    not_run,
    self_test,
)
from gsu_jax.removal.service._files import Record
from gsu_jax.removal.service._held_against import (
    CONTROLS,
    HELD,
    SEEDS,
    Limits,
    against,
    allowed,
    limits_of,
)
from gsu_jax.removal.service._measures import NotApplicable, Said
from gsu_jax.removal.service._subject import Subject

NAME = "self-test"
ALL = HELD | CONTROLS
GROUPS = {"retrained": "held-out retrained", "original": "original", "fine_tuned": "fine-tuned"}


class Calibration(NamedTuple):
    """The thresholds of a line, and the known models that they fail.

    Attributes:
        fails: Where the line fails, in words.
        limits: The `Limits`, in the unit of the figure.
        failed: Group -> how many of its models FAILED; of retrained ones these are false alarms.
        models: Group -> how many it has.
    """

    fails: str
    limits: Limits
    failed: dict[str, int]
    models: dict[str, int]

    def record(self) -> Record:
        """Returns it for JSON."""
        low, high, power = (value if abs(value) < 1e300 else None for value in self.limits)
        return {
            "low": low, "high": high, "power": power, "failed": self.failed,
            "models": self.models, "says": self.sentence(),
        }  # fmt: skip

    def sentence(self) -> str:
        """Returns it in words."""
        failed = ", ".join(
            f"{self.failed[group]} of {self.models[group]} {title}"
            for group, title in GROUPS.items()
        )
        return f"fails {self.fails}: {failed}"


class OwnTest(NamedTuple):
    """Result of `audit_itself`.

    Attributes:
        said: The line of the self-test, and its numbers in words.
        found: What the lines say of known models; None if no line has the power.
        lines: Line -> its `Calibration`; controls too.
    """

    said: Said
    found: SelfTest | None
    lines: dict[str, Calibration]


def audit_itself(subject: Subject, lines: list[Line]) -> OwnTest:
    """Judges models whose verdict is known by the lines that were run against retrained models.

    Held-out retrained models are judged against the others. The power of a line is that of its
    limits by all of them.
    """
    figures = {
        line.name: getattr(subject, HELD[line.name].figure)
        for line in lines
        if line.name in HELD and line.verdict != Verdict.NOT_RUN
    }
    controls: dict[str, Any] = {}
    for name, held in CONTROLS.items():
        try:
            controls[name] = getattr(subject, held.figure)
        except NotApplicable:
            continue
    if not figures:
        return OwnTest((not_run(NAME), "no line with a known answer was run"), None, {})
    every = figures | controls
    limits = {
        name: limits_of(figure, ALL[name], subject.samples, subject.level)
        for name, figure in every.items()
    }
    for each in lines:
        if each.name in figures:  # an attack that is not honest has no power
            limits[each.name] = limits[each.name]._replace(power=each.power)

    def line(name: str, value: float, retrained: Any, *, level: float, **_: Any) -> Line:
        return against(
            name, value, retrained, held=ALL[name], samples=subject.samples,
            power=limits[name].power, level=level,
        )  # fmt: skip

    known = {name: KnownModels(f.retrained, f.original, f.fine_tuned) for name, f in every.items()}
    found = self_test(
        {name: known[name] for name in figures}, effect=1.0, random=SEEDS, line=line,
        controls={name: known[name] for name in controls}, level=subject.level,
    )  # fmt: skip
    calibrated = {
        name: Calibration(
            allowed(limits[name], ALL[name]),
            limits[name],
            {g: round(rates[Verdict.FAILED] * found.models[g]) for g, rates in groups.items()},
            found.models,
        )
        for name, groups in found.lines.items()
    }
    if math.isnan(found.passed.value):
        why = f"no line with a known answer has the power; {_others(found)}"
        return OwnTest((not_run(NAME), why), None, calibrated)
    believed = found.believed
    result = judge(
        NAME, found.passed.value, passed=believed, found=False, n=subject.models,
        power=1.0 if believed else 0.0, random=SEEDS,
    )  # fmt: skip
    passed = (
        f"held-out retrained models pass {found.passed.value:.1%} of the lines (95 % interval "
        f"{found.passed.low:.0%} to {found.passed.high:.0%})"
    )
    return OwnTest((result, f"{passed}; {_others(found)}"), found, calibrated)


def _others(found: SelfTest) -> str:
    alarms = round(found.false_alarms.value * found.models["retrained"])
    fails = {g: found.overall[g][Verdict.FAILED] for g in ("original", "fine_tuned")}
    said = (
        f"{alarms} of {found.models['retrained']} of them fail a line, {fails['original']:.0%} of "
        f"the originals and {fails['fine_tuned']:.0%} of the fine-tuned ones do"
    )
    if found.unseen is None:
        return said
    return f"{said}; images that no model saw are NOT DETECTABLE in {found.unseen:.0%} of verdicts"
