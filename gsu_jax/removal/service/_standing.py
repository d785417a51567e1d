"""What the verifier said of the last run, by the ledger: files of the operator say nothing."""

import hashlib

from gsu_jax.audit import Verdict
from gsu_jax.removal._events import Event, canonical
from gsu_jax.removal._signing import load_public_keys, open_envelope
from gsu_jax.removal.service._case import Case
from gsu_jax.removal.service._files import Record, read_json

RESULT = "verification.json"
NO_NUMBERS: Record = {"n": 0, "power": None, "random": "", "says": ""}


def of_last_run(case: Case, type: str) -> list[Event]:
    """The events of a type since the last plan or run, the oldest first.

    Raises:
        ValueError: The verifier's key did not sign one of them.
    """
    found: list[Event] = []
    for event in case.events:
        if event.type in ("planned", "ran"):
            found = []
        elif event.type == type:
            found.append(event)
    keys = load_public_keys(case.keys)["verifier"] if found else []
    for event in found:
        statement, fault = open_envelope(event.envelope, keys)
        if statement is None:
            raise ValueError(
                f"event {event.seq}, {type!r}, is not the verifier's: {fault}; see gsu-jax removal "
                "ledger verify"
            )
    return found


def verified(case: Case) -> Record:
    """Returns what the last verification of the last run found; empty without one.

    Lines and weights are those of the event. Settings and thresholds are in `verification.json`
    alone, of which the event has the SHA-256.

    Raises:
        ValueError: The file is of no verification that the verifier signed.
    """
    events = of_last_run(case, "verified")
    if not events:
        return {}
    last, path = events[-1], case.folder / RESULT
    kept = read_json(path, "settings", "calibration", "lines") if path.is_file() else {}
    if kept and not any(_is_of(kept, event) for event in case.events if event.type == "verified"):
        raise ValueError(
            f"{path} is not what the verifier signed, it was changed or never finished; verify "
            f"request {case.number} again"
        )
    lines = last.predicate["gsu_jax_lines"]
    order = list(kept.get("lines", ()))  # RFC 8785 has sorted those of the event
    names = sorted(lines, key=lambda name: order.index(name) if name in order else len(order))
    found: Record = {
        "checkpoint": last.weights,
        "lines": {name: NO_NUMBERS | lines[name] for name in names},
        "settings": {},
        "calibration": {},
    }
    if kept and _is_of(kept, last):
        found |= {name: kept[name] for name in ("settings", "calibration")}
    return found


def decides(lines: Record) -> str:
    """The first line of the worst verdict; "" if there is none."""
    order = list(Verdict)
    return max(lines, key=lambda name: order.index(Verdict(lines[name]["verdict"])), default="")


def configuration(settings: Record, calibration: Record) -> str:
    """The SHA-256 of what the lines were tested with, which the event has."""
    return hashlib.sha256(canonical([settings, calibration])).hexdigest()


def _is_of(kept: Record, event: Event) -> bool:
    said = event.predicate
    return (
        kept.get("checkpoint") == event.weights
        and kept["lines"] == said["gsu_jax_lines"]
        and said["configuration"][0]["digest"]["sha256"]
        == configuration(kept["settings"], kept["calibration"])
    )


def failed_lines(case: Case) -> list[str]:
    """The lines that FAILED since the last run: a later try without them takes nothing back."""
    events = of_last_run(case, "verified")
    return sorted({name for event in events for name in event.predicate["failedTests"]})


def tries(case: Case) -> str:
    """How often the request was run and verified, if more than once."""
    types = [event.type for event in case.events]
    runs, times = types.count("ran"), types.count("verified")
    if max(runs, times) < 2:
        return ""
    return f"tries: {runs} runs and {times} verifications, which no line corrects for"
