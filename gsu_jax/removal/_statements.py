"""What events say: in-toto statements with a predicate for each kind of evidence."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gsu_jax.checks import choice
from gsu_jax.removal._events import CLAIMS, EVENTS, LINK, OWN, check_digest

VERDICTS = ("PASSED", "FAILED", "NOT DETECTABLE", "NOT RUN")
STATEMENT = "https://in-toto.io/Statement/v1"


def statement(
    link: Mapping[str, Any], predicate: Mapping[str, Any], checkpoint: str | None
) -> dict[str, Any]:
    """Returns the statement of an event.

    Its subject is the checkpoint that the event is about, or the request. The place in the chain
    (`link`) is a field of the predicate, so that the signature covers it.
    """
    if checkpoint is None:
        digest = hashlib.sha256(link["request"].encode()).hexdigest()
        subject = {"name": f"request/{link['request']}", "digest": {"sha256": digest}}
    else:
        subject = {"name": "checkpoint", "digest": {"sha256": checkpoint}}
    return {
        "_type": STATEMENT,
        "subject": [subject],
        "predicateType": EVENTS[link["type"]].predicate_type,
        "predicate": {**predicate, LINK: dict(link)},
    }


def provenance(
    *,
    base: str,
    data: str,
    method: str,
    settings: Mapping[str, Any],
    environment: Mapping[str, Any],
    started: str,
    finished: str,
    builder: str = OWN,
) -> dict[str, Any]:
    """Returns the predicate of `ran`: SLSA provenance v1, from which the run can be repeated.

    Args:
        base: The SHA-256 of the checkpoint that was unlearned.
        data: The SHA-256 of the data set's manifest.
        method: The method of `gsu_jax.METHODS`.
        settings: Its settings, the seed among them.
        environment: Versions, code, device.
        started: When, such as "2026-11-30T09:00:00Z".
        finished: When.
        builder: A URI of who ran it.

    Raises:
        ValueError: A digest is no SHA-256.

    Example:
        >>> found = provenance(
        ...     base="a" * 64, data="b" * 64, method="redirect_flow", settings={"seed": 0},
        ...     environment={"jax": "0.10.0"}, started="2026-11-30T09:00:00Z",
        ...     finished="2026-11-30T09:00:08Z",
        ... )
        >>> found["buildDefinition"]["externalParameters"]
        {'method': 'redirect_flow', 'settings': {'seed': 0}}

    References:
        SLSA provenance v1, https://slsa.dev/provenance/v1
    """
    check_digest(base=base, data=data)
    return {
        "buildDefinition": {
            "buildType": f"{OWN}/unlearn/v1",
            "externalParameters": {"method": method, "settings": dict(settings)},
            "internalParameters": dict(environment),
            "resolvedDependencies": [
                {"name": "base", "digest": {"sha256": base}},
                {"name": "data", "digest": {"sha256": data}},
            ],
        },
        "runDetails": {
            "builder": {"id": builder},
            "metadata": {"startedOn": started, "finishedOn": finished},
        },
    }


def verification(
    lines: Mapping[str, str], *, configuration: str, details: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the predicate of `verified`: an in-toto test result v0.1.

    The worst line decides. A line that is NOT DETECTABLE or NOT RUN is a warning: it never counts
    as passed.

    Args:
        lines: Line -> "PASSED", "FAILED", "NOT DETECTABLE" or "NOT RUN".
        configuration: The SHA-256 of the settings of the verification, and of its thresholds.
        details: Line -> its numbers: counts, threshold, power.

    Raises:
        ValueError: There is no line, a verdict is none of these, or a digest is no SHA-256.

    Example:
        >>> found = verification({"V2": "PASSED", "V6": "NOT RUN"}, configuration="c" * 64)
        >>> found["result"], found["warnedTests"]
        ('WARNED', ['V6'])

    References:
        Test result v0.1, https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md
    """
    if not lines:
        raise ValueError("lines must have at least one verdict, got none")
    for name, verdict in lines.items():
        choice(VERDICTS, **{f"lines[{name!r}]": verdict})
    check_digest(configuration=configuration)
    passed = [name for name, verdict in lines.items() if verdict == "PASSED"]
    failed = [name for name, verdict in lines.items() if verdict == "FAILED"]
    warned = [name for name in lines if name not in (*passed, *failed)]
    return {
        "result": "FAILED" if failed else "WARNED" if warned else "PASSED",
        "configuration": [{"name": "settings", "digest": {"sha256": configuration}}],
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
        "gsu_jax_lines": {
            name: {"verdict": verdict, **(details or {}).get(name, {})}
            for name, verdict in lines.items()
        },
    }


def removal_record(
    *,
    claim: str,
    outcome: str,
    scope: str,
    not_covered: Sequence[str],
    residual_risk: str,
) -> dict[str, Any]:
    """Returns the predicate of `closed`: what was removed, and what was not shown.

    Write no name and no id into the text: the ledger is kept.

    Args:
        claim: "rows", "class" or "concept".
        outcome: What was done.
        scope: What the claim is about, in words that name nobody.
        not_covered: What stays: copies, the model before, models trained from it.
        residual_risk: What an attacker may still learn.

    Raises:
        ValueError: The claim is unknown, or nothing is said not to be covered.

    Example:
        >>> record = removal_record(
        ...     claim="rows", outcome="unlearned", scope="3 training images",
        ...     not_covered=["copies of the weights"], residual_risk="membership was not attacked",
        ... )
        >>> record["notCovered"]
        ['copies of the weights']
    """
    choice(CLAIMS, claim=claim)
    if isinstance(not_covered, str) or not not_covered:
        raise ValueError(
            "not_covered must list what the removal does not reach, such as "
            f'["copies of the weights"], got {not_covered!r}'
        )
    return {
        "claim": claim,
        "outcome": outcome,
        "scope": scope,
        "notCovered": list(not_covered),
        "residualRisk": residual_risk,
    }
