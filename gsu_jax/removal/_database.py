"""The tables of a ledger, which take new rows alone: SQLite, or PostgreSQL for several machines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from gsu_jax.checks import import_extra

SCHEMA = 1
SECONDS = 30  # to wait for another writer
LOCK = 0x67737561  # of PostgreSQL's advisory locks
TABLES = ("ledger", "events")

metadata = sql.MetaData()
ledger = sql.Table(
    "ledger",
    metadata,
    sql.Column("schema", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("project", sql.Text, nullable=False),
)
events = sql.Table(
    "events",
    metadata,
    sql.Column("seq", sql.Integer, primary_key=True, autoincrement=False),
    *(
        sql.Column(name, sql.Text, nullable=False)
        for name in ("prev", "hash", "time", "type", "request", "envelope")
    ),
)

# INSERT OR REPLACE of SQLite deletes without a DELETE trigger; the last trigger refuses it.
SQLITE_TRIGGERS = [
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'a ledger takes new rows alone'); END"
    for table in TABLES
    for verb in ("UPDATE", "DELETE")
] + [
    "CREATE TRIGGER events_in_order BEFORE INSERT ON events "
    "WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events) "
    "BEGIN SELECT RAISE(ABORT, 'a ledger takes new rows alone'); END"
]
POSTGRES_TRIGGERS = [
    "CREATE FUNCTION gsu_jax_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'a ledger takes new rows alone'; END $$",
    *(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION gsu_jax_append_only()"
        for table in TABLES
    ),
]


class LedgerError(ValueError):
    """A ledger that cannot be opened, read or written."""


class Database:
    """A connection to the tables of one ledger.

    Args:
        location: A file, `sqlite:///FILE` or `postgresql://...`.

    Raises:
        ImportError: The driver of PostgreSQL is missing.
        LedgerError: The location is none of these.
    """

    def __init__(self, location: str | os.PathLike):
        text = os.fspath(location)
        try:
            url = sql.make_url(text if "://" in text else f"sqlite:///{Path(text).expanduser()}")
        except ArgumentError as error:
            raise LedgerError(f"location must be a file or a URL, got {text!r}") from error
        kind = url.get_backend_name()
        if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and not url.database):
            raise LedgerError(
                "location must be a file, sqlite:///FILE or postgresql://HOST/DATABASE, got "
                f"{url.render_as_string()}"
            )
        self.name = url.database if kind == "sqlite" else url.render_as_string()
        self.is_sqlite = kind == "sqlite"
        self.file = Path(url.database or "") if self.is_sqlite else None
        options: dict[str, Any] = {"timeout": SECONDS}
        if not self.is_sqlite:
            import_extra("psycopg", "psycopg", "a ledger in PostgreSQL", extra="removal")
            url, options = url.set(drivername="postgresql+psycopg"), {"connect_timeout": SECONDS}
        self._engine = sql.create_engine(url, poolclass=sql.NullPool, connect_args=options)
        if self.is_sqlite:
            sql.event.listen(self._engine, "connect", _prepare_sqlite)

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A connection that sees one state of the ledger.

        Raises:
            LedgerError: The ledger is not there, or it cannot be read.
        """
        if self.file is not None and not self.file.is_file():
            raise LedgerError(
                f"there is no ledger {self.name}; check the path: gsu-jax removal plan or "
                "Ledger(location, project) begins one"
            )
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """A transaction that no other writer overlaps; it reaches the disk, or nothing does.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        with self._explained(), self._engine.begin() as connection:
            lock = f"SELECT pg_advisory_xact_lock({LOCK})"
            connection.exec_driver_sql("BEGIN IMMEDIATE" if self.is_sqlite else lock)
            yield connection

    def is_begun(self) -> bool:
        """Whether there is a ledger: a file that a kill or a full disk left empty is none."""
        if self.file is not None and not self.file.is_file():
            return False
        with self._explained(), self._engine.connect() as connection:
            return sql.inspect(connection).has_table(TABLES[0])

    def begin(self, project: str) -> str:
        """Makes the tables if there are none, and returns the project that they belong to."""
        if self.file is not None:
            with self._explained():
                self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.writing() as connection:
            if not sql.inspect(connection).has_table("ledger"):
                metadata.create_all(connection)
                for trigger in SQLITE_TRIGGERS if self.is_sqlite else POSTGRES_TRIGGERS:
                    connection.exec_driver_sql(trigger)
                connection.execute(ledger.insert().values(schema=SCHEMA, project=project))
        return self.project()

    def project(self) -> str:
        """Returns the project that the ledger belongs to.

        Raises:
            LedgerError: There is no ledger, or it is of a later version.
        """
        with self.reading() as connection:
            if not all(sql.inspect(connection).has_table(table) for table in TABLES):
                raise LedgerError(f"{self.name} is no ledger: it has no table of events")
            rows = connection.execute(sql.select(ledger)).all()
        if len(rows) != 1 or rows[0].schema != SCHEMA:
            raise LedgerError(
                f"{self.name} is no ledger of version {SCHEMA}: its table `ledger` has "
                f"{[tuple(row) for row in rows]}"
            )
        return rows[0].project

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, UnicodeError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            said = (str(cause).strip() or repr(error)).splitlines()[0]
            raise LedgerError(f"ledger {self.name}: {said}{_advice(cause)}") from error


def _advice(error: BaseException) -> str:
    """What to do about a ledger that cannot be written; empty if the error says it all."""
    name = getattr(error, "sqlite_errorname", "OSERROR" if isinstance(error, OSError) else "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "OSERROR")):
        return "; check free space and permissions: the events that it has stay as they are"
    return "; another command writes to it: try again" if name.startswith("SQLITE_BUSY") else ""


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # A changed byte may be no UTF-8; `verify` names it all the same.
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    # After a power failure too, what was acknowledged is there.
    connection.execute("PRAGMA synchronous = EXTRA")
