"""`verify_case`: the lines of a claim, the self-test of the audit, the event of the verifier."""

import math
from typing import Any, NamedTuple

from gsu_jax.audit import Line, SelfTest, not_run, worst
from gsu_jax.checks import at_least
from gsu_jax.removal._statements import verification
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._files import Record, write_json
from gsu_jax.removal.service._lines import level_of, lines_of
from gsu_jax.removal.service._measures import NotApplicable
from gsu_jax.removal.service._models import SharedModels
from gsu_jax.removal.service._quote import MODELS, SHADOWS
from gsu_jax.removal.service._self_test import Calibration, audit_itself
from gsu_jax.removal.service._standing import RESULT, configuration
from gsu_jax.removal.service._subject import Subject
from gsu_jax.runtime import describe_environment, stage

SAMPLES = 10_000


class Verification(NamedTuple):
    """Result of `verify_case`.

    Attributes:
        lines: In order.
        said: Line -> its numbers in words, or why it was not run.
        decides: The worst line.
        self_test: Of the audit, at tier 1; else None.
        calibration: Line against retrained models -> its thresholds, and which known models fail.
        level: Of each line of tier 1 and above; together they raise 5 % false alarms at most.
    """

    lines: list[Line]
    said: dict[str, str]
    decides: Line
    self_test: SelfTest | None
    calibration: dict[str, Calibration]
    level: float


def verify_case(
    case: Case,
    *,
    tier: int = 0,
    models: int = MODELS,
    samples: int = SAMPLES,
    shadows: int = SHADOWS,
    shared: SharedModels | None = None,
) -> Verification:
    """Tests a new checkpoint, and signs what came out with the verifier's key.

    Tier 0 trains no generator. Tier 1 trains `models` of each kind once and keeps them in the case.
    Tier 2 also trains `shadows` models with half of the images to forget each, for attacks on a
    list of images. All lines of the claim are listed, and those of a higher tier are NOT RUN: so
    tier 0 alone never passes a claim. The worst line decides.

    The lines of tier 1 and above share one level: a retrained model fails any of them with a chance
    of at most 5 %. The self-test holds models whose verdict is known against the same thresholds.

    Args:
        case: That was run.
        tier: 0, 1 or 2.
        models: Of each kind, at least 3.
        samples: Of a model.
        shadows: Shadow models at tier 2, an even number of at least 8.
        shared: Models that other cases of the same images have already, such as for other methods.

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
        level = level_of(case.facts["claim"], tier)
        subject = Subject(
            case, samples, models if tier else 0, shadows if tier == 2 else 0, level=level,
            shared=shared,
        )  # fmt: skip
        lines, said = [], {}
        tests = lines_of(case)
        with stage("verify", len(tests), patience=2.0) as advance:
            for test in tests:
                advance(0, test.name)
                line, said[test.name] = _run(test, subject, tier)
                lines.append(line)
                advance(1, f"{test.name} {line.verdict}")
        tested, calibration = None, {}
        if tier:
            (line, said[line.name]), tested, calibration = audit_itself(subject, lines)
            lines.append(line)
        found = Verification(lines, said, worst(lines), tested, calibration, level)
        settings: Record = {"tier": tier, "models": subject.models, "samples": samples}
        if tier:
            settings["level"] = round(level, 6)
        if subject.shadows:
            settings["shadows"] = subject.shadows
        _write_down(case, found, settings, verifier)
    return found


def _run(test: Any, subject: Subject, tier: int) -> tuple[Line, str]:
    if test.tier > tier:
        return not_run(test.name), f"it needs --tier {test.tier}"
    try:
        return test.run(subject)
    except NotApplicable as reason:
        return not_run(test.name), str(reason)


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
    calibration = {name: each.record() for name, each in found.calibration.items()}
    record = {
        "checkpoint": case.checkpoint,
        "settings": settings,
        "verdict": str(found.decides.verdict),
        "decides": found.decides.name,
        "lines": rows,
        "calibration": calibration,
        "asks": {test.name: test.asks for test in lines_of(case)},
    }
    write_json(case.folder / RESULT, record)  # before the event: without it, it counts for nothing
    predicate = verification(
        {name: row["verdict"] for name, row in rows.items()},
        configuration=configuration(settings, calibration),
        details={name: dict(row) for name, row in rows.items()},
    )
    case.ledger.append("verified", case.number, verifier, predicate, checkpoint=case.checkpoint)


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
