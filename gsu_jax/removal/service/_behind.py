"""Which requests led to a checkpoint."""

from typing import Any

FACTS = "case.json"


def cases_behind(case: Any, weights: str, before: int | None = None) -> list[Any]:
    """Returns the other cases of the same folder that led to a checkpoint, the oldest first.

    Args:
        case: A `Case` of the folder.
        weights: The SHA-256 of the checkpoint.
        before: Counts runs before this event alone.
    """
    runs = []
    for path in (case.home / "cases").glob(f"*/{FACTS}"):
        other = case.other(path.parent.name)
        seqs = [event.seq for event in other.events if event.type == "ran"]
        if seqs and other.number != case.number and (before is None or seqs[-1] < before):
            runs.append((seqs[-1], other))
    found = []
    for _, other in sorted(runs, key=lambda run: -run[0]):
        if other.checkpoint == weights:
            found.append(other)
            weights = other.facts["base"]
    return found[::-1]
