"""`Ledger`: a record of removal requests that takes new events alone."""

import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sql

from gsu_jax.removal._commitments import RequestKeys
from gsu_jax.removal._database import Database, LedgerError, events
from gsu_jax.removal._events import (
    ENDS,
    SET_BACK,
    Event,
    History,
    canonical,
    chain_hash,
    check_digest,
    check_predicate,
    check_type,
    first_prev,
)
from gsu_jax.removal._signing import RoleKey, sign
from gsu_jax.removal._statements import statement

PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
OF_A_CHECKPOINT = ("ran", "verified", "remeasured", "released", "undone")
PATIENCE = timedelta(seconds=5)  # clocks of two operators differ by less
LAST = sql.select(events).order_by(events.c.seq.desc()).limit(1)


def utc_now() -> datetime:
    """Returns the time."""
    return datetime.now(UTC)


class Ledger:
    """A chain of signed events about removal requests.

    Event n has the hash h_n = SHA-256(h_(n-1) || envelope_n), in which envelope_n is the RFC 8785
    form of a DSSE envelope around an in-toto statement. The statement holds n and h_(n-1) too, so
    that each signature covers everything before it. The database refuses to change or delete a row.

    Args:
        location: A file (SQLite), or `postgresql://...` for several machines.
        project: Begins a ledger of this project if there is none; None to open one that is there.
        clock: Returns the time, with its zone.
        although_clock_set_back: Appends events although the clock is before the last one; they say
            so.

    Raises:
        LedgerError: There is no ledger, it belongs to another project, or it cannot be opened.
        ValueError: The name of the project is unfit.

    Example:
        >>> import tempfile
        >>> from gsu_jax.removal import Ledger, init_keys, load_key, load_public_keys, verify
        >>> folder = tempfile.mkdtemp()
        >>> _ = init_keys(folder)
        >>> ledger = Ledger(f"{folder}/removals.sqlite", "faces")
        >>> event = ledger.append(
        ...     "received", "2026-014", load_key(folder, "operator"), {"claim": "rows"}
        ... )
        >>> event.seq, event.type, event.predicate
        (1, 'received', {'claim': 'rows'})
        >>> verify(ledger, load_public_keys(folder))
        []

    References:
        RFC 8785; DSSE, https://github.com/secure-systems-lab/dsse; in-toto attestations,
        https://github.com/in-toto/attestation
    """

    def __init__(
        self,
        location: str | os.PathLike,
        project: str | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        although_clock_set_back: bool = False,
    ):
        if project is not None and not PROJECT.fullmatch(project):
            raise ValueError(
                f"project must be a name of at most 64 letters, digits and ._/-, got {project!r}"
            )
        self._database = Database(location)
        self._clock, self._although_clock_set_back = clock, although_clock_set_back
        self.name = self._database.name
        self.project = self._database.begin(project) if project else self._database.project()
        if project is not None and self.project != project:
            raise LedgerError(
                f"ledger {self.name} belongs to project {self.project!r}, got project={project!r}"
            )

    def __repr__(self) -> str:
        return f"Ledger({self.name!r}, {self.project!r})"

    def append(
        self,
        type: str,
        request: str,
        key: RoleKey,
        predicate: Mapping[str, Any] | None = None,
        *,
        checkpoint: str | None = None,
        keys: RequestKeys | None = None,
    ) -> Event:
        """Signs an event and writes it; when this returns, the event is on disk.

        Args:
            type: One of `EVENTS`.
            request: The number of the request, which names nobody.
            key: The key of the role that may sign this type.
            predicate: What the event says; see `EVENTS` for its fields.
            checkpoint: The SHA-256 of the new checkpoint, for `ran`, `verified`, `remeasured` and
                `released`; of the one before for `undone`.
            keys: For `closed` and `refused`: the folder with the secret of the request, which is
                destroyed before the event is written.

        Returns:
            The event.

        Raises:
            LedgerError: The ledger cannot be written, or the clock was set back.
            TypeError: `checkpoint` or `keys` is missing, or there is one too many.
            ValueError: The type is unknown, its turn has not come, the role may not sign it, or it
                has a field that it must not have.
        """
        predicate = dict(predicate or {})
        self._check(type, request, key, predicate, checkpoint, keys)
        with self._database.writing() as connection:
            last = connection.execute(LAST).first()
            refusal = History(request, _read(connection, request)).refusal(type, checkpoint)
            if refusal:
                raise ValueError(refusal)
            now, clock = self._time_after(last)
            if keys is not None:
                keys.destroy(request)
                predicate["commitmentKey"] = "destroyed"
            link: dict[str, Any] = {
                "project": self.project,
                "request": request,
                "seq": last.seq + 1 if last else 1,
                "prev": last.hash if last else first_prev(self.project),
                "time": now,
                "type": type,
            } | clock
            envelope = sign(statement(link, predicate, checkpoint), key.signer)
            event = Event(
                seq=link["seq"],
                prev=link["prev"],
                hash=chain_hash(link["prev"], envelope),
                time=link["time"],
                type=type,
                request=request,
                envelope=envelope.decode(),
            )
            connection.execute(events.insert().values(**event._asdict()))
        return event

    def check_clock(self) -> datetime:
        """Returns the later of the clock and the time of the last event.

        Raises:
            LedgerError: The clock is before the last event, so that `append` would refuse.
        """
        with self._database.reading() as connection:
            last = connection.execute(LAST).first()
        now = self._clock()
        if last is None:
            return now
        self._is_set_back(last, now)
        return max(self._time_of(last), now)

    def events(self, request: str | None = None) -> list[Event]:
        """Returns the events as they are stored, of one request or of all.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        with self._database.reading() as connection:
            return _read(connection, request)

    @property
    def head(self) -> str:
        """The hash of the last event. Print it in a receipt: it holds everything before it."""
        query = sql.select(events.c.hash).order_by(events.c.seq.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.scalar(query) or first_prev(self.project)

    def _check(
        self,
        type: str,
        request: str,
        key: RoleKey,
        predicate: Mapping[str, Any],
        checkpoint: str | None,
        keys: RequestKeys | None,
    ) -> None:
        signer = check_type(type, request).signer
        if not isinstance(key, RoleKey):
            raise TypeError(f"key must be a RoleKey, as load_key returns it, got {key!r}")
        if key.role != signer:
            raise ValueError(f"key: {type} is signed by the {signer}, got the {key.role}'s key")
        check_predicate(type, predicate)
        canonical(predicate)
        if (checkpoint is not None) != (type in OF_A_CHECKPOINT):
            needs = "needs the SHA-256 of the new one" if checkpoint is None else "has none"
            raise TypeError(f"checkpoint: {type} {needs}, got {checkpoint!r}")
        if checkpoint is not None:
            check_digest(checkpoint=checkpoint)
        if (keys is not None) != (type in ENDS):
            needs = "destroys the secret of the request" if keys is None else "destroys no secret"
            raise TypeError(f"keys: {type} {needs}, got keys={keys!r}")

    def _time_after(self, last: Any) -> tuple[str, dict[str, str]]:
        """Returns the time, and what an event says of a clock that was set back.

        Waits if another operator's clock is a little ahead of this one.
        """
        now, said = self._clock(), {}
        if last is not None and self._is_set_back(last, now):
            said = {"clock": SET_BACK}
        elif last is not None and (before := self._time_of(last)) > now:
            time.sleep((before - now).total_seconds())
            now = max(before, self._clock())
        return now.astimezone(UTC).isoformat(timespec="microseconds"), said

    def _is_set_back(self, last: Any, now: datetime) -> bool:
        """Whether the clock is before the last event, or LedgerError if it must not be."""
        is_set_back = self._time_of(last) - now > PATIENCE
        if is_set_back and not self._although_clock_set_back:
            raise LedgerError(
                f"ledger {self.name}: the clock says {now.isoformat()}, which is before event "
                f"{last.seq} of {last.time}; set the clock right. If that event is from a clock "
                "that was ahead, add --although-clock-set-back, which the ledger will show"
            )
        return is_set_back

    def _time_of(self, event: Any) -> datetime:
        try:
            return datetime.fromisoformat(event.time)
        except ValueError as error:
            raise LedgerError(
                f"ledger {self.name}: event {event.seq} was changed: it has the time "
                f"{event.time!r}; gsu-jax removal ledger verify names every change"
            ) from error


def _read(connection: sql.Connection, request: str | None) -> list[Event]:
    """The events of a request, or of all."""
    query = sql.select(events).order_by(events.c.seq)
    if request is not None:
        query = query.where(events.c.request == request)
    return [Event(*row) for row in connection.execute(query).all()]
