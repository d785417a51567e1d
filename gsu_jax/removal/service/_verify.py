"""`verify_case`: the lines of a claim, the self-test of the audit, the event of the verifier."""

import hashlib
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
    worst,
)
from gsu_jax.checks import at_least
from gsu_jax.removal._events import canonical
from gsu_jax.removal._statements import verification
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._files import Record, write_json
from gsu_jax.removal.service._lines import lines_of
from gsu_jax.removal.service._quote import MODELS, SHADOWS
from gsu_jax.removal.service._subject import NotApplicable, Subject
from gsu_jax.removal.service._tier1 import FIGURES, SEEDS, against, effect_of
from gsu_jax.runtime import describe_environment, stage

RESULT = "verification.json"
SAMPLES = 10_000
ENOUGH_POWER = 0.8
IN_SELF_TEST = ("V2 share, retrained", "V3 evidence", "V5 set", "V10 recovery", "V6 membership")


class Verification(NamedTuple):
    """Result of `verify_case`.

    Attributes:
        lines: In order.
        said: Line -> its numbers in words, or why it was not run.
        decides: The worst line.
        self_test: Of the audit, at tier 1; else None.
    """

    lines: list[Line]
    said: dict[str, str]
    decides: Line
    self_test: SelfTest | None


def verify_case(
    case: Case,
    *,
    tier: int = 0,
    models: int = MODELS,
    samples: int = SAMPLES,
    shadows: int = SHADOWS,
) -> Verification:
    """Tests a new checkpoint, and signs what came out with the verifier's key.

    Tier 0 trains no generator. Tier 1 trains `models` of each kind once and keeps them in the case.
    Tier 2 also trains `shadows` models with half of the images to forget each, for attacks on a
    list of images. All lines of the claim are listed, and those of a higher tier are NOT RUN: so
    tier 0 alone never passes a claim. The worst line decides.

    Args:
        case: That was run.
        tier: 0, 1 or 2.
        models: Of each kind, at least 3.
        samples: Of a model.
        shadows: Shadow models at tier 2, an even number of at least 8.

    Returns:
        A `Verification`.

    Raises:
        CheckpointError: A checkpoint is gone, damaged, or not that of the ledger.
        LedgerError: The ledger cannot be written.
        ValueError: The request was not run or is purged, the request does not say how the
            checkpoint was trained and tier is 1 or 2, or a number is too small.
    """
    if tier not in (0, 1, 2):
        raise ValueError(f"tier must be 0, 1 or 2, got {tier}")
    at_least(3, models=models)
    at_least(100, samples=samples)
    at_least(8, shadows=shadows)
    if shadows % 2:
        raise ValueError(f"shadows must be even: each image is in half of them; got {shadows}")
    verifier = case.key("verifier")
    with case.locked():
        case.require("ran", "verified", "released", to="verify")
        if tier and case.training is None:
            raise ValueError(
                f"tier {tier} trains models as the checkpoint was trained, and the request does "
                "not say how: give train.epochs or train.function in it, and plan it again"
            )
        subject = Subject(case, samples, models if tier else 0, shadows if tier == 2 else 0)
        lines, said = [], {}
        tests = lines_of(case)
        with stage("verify", len(tests), patience=2.0) as advance:
            for test in tests:
                advance(0, test.name)
                line, said[test.name] = _run(test, subject, tier)
                lines.append(line)
                advance(1, f"{test.name} {line.verdict}")
        tested = _self_test(subject, lines, said) if tier else None
        found = Verification(lines, said, worst(lines), tested)
        settings: Record = {"tier": tier, "models": subject.models, "samples": samples}
        if subject.shadows:
            settings["shadows"] = subject.shadows
        _write_down(case, found, settings, verifier)
    return found


def _run(test: Any, subject: Subject, tier: int) -> tuple[Line, str]:
    if test.run is None:
        return not_run(test.name), "this release plants no canaries"
    if test.tier > tier:
        return not_run(test.name), f"it needs --tier {test.tier}"
    try:
        return test.run(subject)
    except NotApplicable as reason:
        return not_run(test.name), str(reason)


def _self_test(subject: Subject, lines: list[Line], said: dict[str, str]) -> SelfTest | None:
    """Judges models whose verdict is known, and adds the line that says what came out."""
    names = [
        line.name for line in lines if line.name in IN_SELF_TEST and line.power >= ENOUGH_POWER
    ]
    name = "self-test"
    if not names:
        lines.append(not_run(name))
        said[name] = "no line with a known answer has the power"
        return None
    figures = {name: getattr(subject, FIGURES[name][0]) for name in names}
    sides = {name: FIGURES[name][1] for name in names}

    def line(name: str, value: float, retrained: Any, *, effect: float, random: str) -> Line:
        own = effect_of(figures[name])
        least = 3.7 / subject.samples
        return against(
            name, value, retrained, effect=own, random=random, side=sides[name], least=least
        )

    known = {
        name: KnownModels(figure.retrained, figure.original, figure.fine_tuned)
        for name, figure in figures.items()
    }
    found = self_test(known, effect=1.0, random=SEEDS, line=line)
    fails = {g: found.overall[g][Verdict.FAILED] for g in ("original", "fine_tuned")}
    said[name] = (
        f"held-out retrained models pass {found.passed.value:.0%} of the lines (up to "
        f"{found.passed.high:.0%}), {fails['original']:.0%} of the originals and "
        f"{fails['fine_tuned']:.0%} of the fine-tuned ones fail"
    )
    lines.append(
        judge(
            name, found.passed.value, passed=found.believed, found=False, n=subject.models,
            power=1.0 if found.believed else 0.0, random=SEEDS,
        )
    )  # fmt: skip
    return found


def _write_down(case: Case, found: Verification, settings: Record, verifier: Any) -> None:
    settings = settings | {
        "claim": case.facts["claim"],
        "device": describe_environment()["devices"],
    }
    rows = {
        line.name: {
            "verdict": str(line.verdict),
            "statistic": _number(line.statistic),
            "n": line.n,
            "power": _number(line.power),
            "random": line.random,
            "says": found.said[line.name],
        }
        for line in found.lines
    }
    record = {
        "checkpoint": case.checkpoint,
        "settings": settings,
        "verdict": str(found.decides.verdict),
        "decides": found.decides.name,
        "lines": rows,
        "asks": {test.name: test.asks for test in lines_of(case)},
    }
    write_json(case.folder / RESULT, record)
    predicate = verification(
        {name: row["verdict"] for name, row in rows.items()},
        configuration=hashlib.sha256(canonical(settings)).hexdigest(),
        details={name: dict(row) for name, row in rows.items()},
    )
    case.ledger.append("verified", case.number, verifier, predicate, checkpoint=case.checkpoint)


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
