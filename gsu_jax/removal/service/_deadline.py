"""Whether a request was answered in time, by the ledger and not by a clock."""

from datetime import UTC, datetime

from gsu_jax.removal._events import ENDS, Event
from gsu_jax.removal.service._case import Case


def deadline_of(case: Case) -> str:
    """Returns whether a request was answered on its last day or before, in words.

    The last day and the times are those of the ledger, in UTC. A request is answered when it is
    released, closed or refused. If the clock was set back on the way, nobody can tell.

    Args:
        case: A request that was received.

    Returns:
        A sentence; "" if the request has no deadline.
    """
    events = case.events
    received = next((event for event in events if event.type == "received"), None)
    day = "" if received is None else received.predicate.get("deadline", "")
    if received is None or not day:
        return ""
    end, all_events = _answer(case, events), case.ledger.events()
    for event in all_events:
        inside = received.seq < event.seq <= (end.seq if end else event.seq)
        if inside and event.is_after_set_back:
            return f"{day}: cannot be told, since the clock was set back before event {event.seq}"
    if end is not None:
        when = end.time[:10]
        return f"{day}: {end.type} on {when}, {'in time' if when <= day else 'late'}"
    now = max(datetime.now(UTC).isoformat(), all_events[-1].time)
    return f"{day}: not answered yet" + ("" if now[:10] <= day else ", late")


def _answer(case: Case, events: list[Event]) -> Event | None:
    """The event that answered a request; None if none did."""
    kinds = ("released",) if case.released else ENDS
    return next((event for event in reversed(events) if event.type in kinds), None)
