"""What all verifications of the last run said."""

from gsu_jax.removal._events import Event
from gsu_jax.removal.service._case import Case


def verifications(case: Case) -> list[Event]:
    """The verifications of the last run, the oldest first."""
    ran = [event.seq for event in case.events if event.type == "ran"]
    return [event for event in case.events if event.type == "verified" and event.seq > ran[-1]]


def failed_lines(case: Case) -> list[str]:
    """The lines that FAILED in any of them: a later one without them takes nothing back."""
    found = {name for event in verifications(case) for name in event.predicate["failedTests"]}
    return sorted(found)


def tries(case: Case) -> str:
    """How often the request was run and verified, if more than once."""
    types = [event.type for event in case.events]
    runs, times = types.count("ran"), types.count("verified")
    if max(runs, times) < 2:
        return ""
    return f"tries: {runs} runs and {times} verifications, which no line corrects for"
