"""`verify`: whether a ledger is whole, for somebody who has the public keys alone."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from gsu_jax.checks import choice
from gsu_jax.removal._database import LedgerError
from gsu_jax.removal._events import (
    EVENTS,
    LINK,
    ROLES,
    Event,
    History,
    chain_hash,
    check_digest,
    check_predicate,
    first_prev,
)
from gsu_jax.removal._ledger import PATIENCE, Ledger
from gsu_jax.removal._signing import PublicKeys, open_envelope

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
COLUMNS = ("prev", "time", "type", "request")


def verify(
    ledger: Ledger, public_keys: PublicKeys, *, project: str | None = None, head: str | None = None
) -> list[str]:
    """Returns what is wrong with a ledger, a sentence each; an empty list if it is whole.

    Each row must hold what its signed envelope says, follow the row before, be signed by a key of
    the role that may sign it, and come in its turn. Events that were removed from the end leave no
    trace in the chain: give the `head` of a receipt to find them.

    Args:
        ledger: The ledger.
        public_keys: Role -> its keys, earlier ones too; `load_public_keys` reads them.
        project: The project that the ledger must belong to.
        head: The hash of an event that the ledger must hold, such as the one in a receipt.

    Raises:
        LedgerError: The ledger cannot be read at all.
        ValueError: A role is unknown or has no key, or `head` is no whole hash.

    Example:
        >>> import tempfile
        >>> from gsu_jax.removal import Ledger, init_keys, load_key, load_public_keys
        >>> folder = tempfile.mkdtemp()
        >>> _ = init_keys(folder)
        >>> ledger = Ledger(f"{folder}/removals.sqlite", "faces")
        >>> event = ledger.append("received", "2026-014", load_key(folder, "operator"))
        >>> verify(ledger, load_public_keys(folder), head=event.hash)
        []
        >>> verify(ledger, load_public_keys(folder), project="voices")
        ["the ledger belongs to project 'faces', not to 'voices'"]
    """
    if head is not None:
        check_digest(head=head)
    for role in public_keys:
        choice(ROLES, role=role)
    for role in ROLES:
        if not public_keys.get(role):
            raise ValueError(f"public_keys must have a key of the {role}, got none")
    wanted = project or ledger.project
    if ledger.project != wanted:
        return [f"the ledger belongs to project {ledger.project!r}, not to {wanted!r}"]
    try:
        events = ledger.events()
    except LedgerError as error:
        return [f"{error}; the database itself is damaged"]
    found = [
        f"operator and verifier have one key, {key}: give each their own"
        for key in sorted(set.intersection(*({k.keyid for k in public_keys[r]} for r in ROLES)))
    ]
    found += _faults(events, public_keys, wanted)
    if head is not None and head not in {first_prev(wanted), *(event.hash for event in events)}:
        found.append(
            f"no event has the hash {head}: events after number {len(events)} were removed, or the "
            "receipt is of another ledger"
        )
    return found


def clock_notes(ledger: Ledger, *, now: datetime | None = None) -> list[str]:
    """Returns where the times of a ledger cannot be trusted, a sentence each; it may be whole.

    Each event that was appended although the clock was set back says so. Between it and the event
    before, nobody can tell from the ledger how much time passed.

    Args:
        ledger: A ledger that `verify` found whole.
        now: The time, which should be after the last event; by default by the clock.

    Example:
        >>> import tempfile
        >>> from datetime import UTC, datetime, timedelta
        >>> from gsu_jax.removal import Ledger, init_keys, load_key
        >>> folder, noon = tempfile.mkdtemp(), datetime(2026, 11, 30, 12, tzinfo=UTC)
        >>> _ = init_keys(folder)
        >>> ledger = Ledger(f"{folder}/removals.sqlite", "faces", clock=lambda: noon)
        >>> event = ledger.append("received", "2026-014", load_key(folder, "operator"))
        >>> clock_notes(ledger, now=noon - timedelta(days=1))
        ['event 1 of 2026-11-30T12:00:00 is after 2026-11-29T12:00:00, the time of this clock']
    """
    found, before = [], None
    for event in ledger.events():
        if before is not None and event.is_after_set_back:
            found.append(
                f"event {event.seq} of {event.time[:19]} follows event {before.seq} of "
                f"{before.time[:19]}: its writer said that the clock was set back"
            )
        before = event
    now = (now or datetime.now(UTC)).astimezone(UTC)
    if before is not None and datetime.fromisoformat(before.time) - now > PATIENCE:
        clock = f"{now.isoformat()[:19]}, the time of this clock"
        found.append(f"event {before.seq} of {before.time[:19]} is after {clock}")
    return found


def _faults(events: Sequence[Event], public_keys: PublicKeys, project: str) -> Iterable[str]:
    # After a fault any hash may come before the next row, so that one fault is named once.
    last_hash, last_seq, last_time = first_prev(project), 0, ""
    histories: dict[str, History] = {}
    whole = True
    for event in events:
        if event.seq != last_seq + 1:
            whole = False
            first, last = last_seq + 1, event.seq - 1
            one = f"event {first} is missing: its row was removed"
            yield one if first == last else f"events {first} to {last} are missing: removed"
            last_hash = None
        fault = _fault(event, public_keys, project)
        if not fault and last_hash not in (None, event.prev):
            fault = f"it does not follow event {last_seq}: its prev is not the hash of that event"
        if not fault and event.time < last_time and not event.is_after_set_back:
            fault = (
                f"its time {event.time} is before {last_time} of event {last_seq}: the clock was "
                "set back"
            )
        history = histories.setdefault(event.request, History(event.request))
        if not fault and whole:
            fault = history.refusal(event.type, event.weights)
        if fault:
            whole = False
            yield f"event {event.seq}: {fault}"
        if whole:
            history.add(event)
        last_seq, last_hash = event.seq, None if fault else event.hash
        last_time = last_time if fault else event.time


def _fault(event: Event, public_keys: PublicKeys, project: str) -> str:
    """Returns what is wrong with a row by itself, or an empty string."""
    role = EVENTS[event.type].signer if event.type in EVENTS else "operator"
    statement, fault = open_envelope(event.envelope, public_keys[role])
    if statement is None:
        other = next(name for name in ROLES if name != role)
        if open_envelope(event.envelope, public_keys[other])[0] is None:
            return fault
        return f"it was signed by the {other}; {event.type!r} is for the {role}"
    try:
        signed = statement["predicate"][LINK]
        if signed["project"] != project:
            return f"it was signed for project {signed['project']!r}, not for {project!r}"
        if signed["seq"] != event.seq:
            return f"this row holds event {signed['seq']}: rows were reordered"
        for name in COLUMNS:
            if signed[name] != getattr(event, name):
                return f"its {name} is {getattr(event, name)!r}, and {signed[name]!r} was signed"
        said = {name: value for name, value in statement["predicate"].items() if name != LINK}
        check_predicate(event.type, said)
        check_digest(subject=event.weights)
        if statement["predicateType"] != EVENTS[event.type].predicate_type:
            return f"its predicate is {statement['predicateType']}, which {event.type} has not"
    except (KeyError, IndexError, TypeError, AttributeError):
        return "the signed statement is no event of a ledger"
    except ValueError as error:
        return str(error)
    if not TIME.fullmatch(event.time):
        return f"its time {event.time!r} is no time in UTC with microseconds"
    if _hash(event) != event.hash:
        return "its hash is not that of its content, so a byte of the hash was changed"
    return ""


def _hash(event: Event) -> str:
    try:
        return chain_hash(event.prev, event.envelope.encode())
    except ValueError:
        return ""
