"""Which requests led to a checkpoint."""

from typing import Any

FACTS = "case.json"


def cases_behind(case: Any, weights: str, before: int | None = None) -> list[Any]:
    """Returns the other cases of the same ledger that led to a checkpoint, the oldest first.

    Args:
        case: A `Case` of the folder.
        weights: The SHA-256 of the checkpoint.
        before: Counts runs before this event alone.

    Raises:
        ValueError: The folder of such a case is gone: what it took out cannot be left out.
    """
    if case.project and not case.is_begun:
        return []
    runs = {event.request: event for event in case.ledger.events() if event.type == "ran"}
    found = []
    for ran in sorted(runs.values(), key=lambda event: -event.seq):
        if ran.request == case.number or (before is not None and ran.seq >= before):
            continue
        if ran.weights == weights:
            other = case.other(ran.request)
            if not other.facts_path.is_file():
                raise ValueError(
                    f"{other.folder} is gone, and request {other.number} led to this checkpoint: "
                    "without it the images that it took out would be retained; restore it from a "
                    "backup"
                )
            found.append(other)
            weights = other.facts["base"]
    return found[::-1]
