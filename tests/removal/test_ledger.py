"""`Ledger`: what it takes, what it refuses, and what it keeps to itself."""

import hashlib
import itertools
import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
from removal_events import CHECKPOINT, IDS, PREDICATES, Office

from gsu_jax.removal import (
    EVENTS,
    Ledger,
    LedgerError,
    RequestKeys,
    digest,
    verification,
    verify,
)


def test_events_of_a_request_are_chained_and_whole(office):
    office.whole_request()
    events = office.ledger.events()
    assert [event.type for event in events] == list(PREDICATES)
    assert [event.seq for event in events] == list(range(1, 10))
    for before, event in itertools.pairwise(events):
        assert event.prev == before.hash
        found = hashlib.sha256(bytes.fromhex(event.prev) + event.envelope.encode())
        assert event.hash == found.hexdigest()
        assert rfc8785.dumps(json.loads(event.envelope)) == event.envelope.encode()
    assert office.ledger.head == events[-1].hash
    assert verify(office.ledger, office.public_keys, head=events[3].hash) == []


def test_statements_are_those_of_in_toto(office):
    office.whole_request()
    statements = {event.type: event.statement for event in office.ledger.events()}
    assert {s["_type"] for s in statements.values()} == {"https://in-toto.io/Statement/v1"}
    assert statements["ran"]["predicateType"] == "https://slsa.dev/provenance/v1"
    result = "https://in-toto.io/attestation/test-result/v0.1"
    assert statements["verified"]["predicateType"] == result
    assert statements["verified"]["predicate"]["result"] == "WARNED"
    for type in ("ran", "verified", "released"):
        assert statements[type]["subject"][0]["digest"] == {"sha256": CHECKPOINT}
    envelope = json.loads(office.ledger.events()[0].envelope)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert len(envelope["signatures"]) == 1


def test_worst_line_decides_and_what_was_not_shown_never_passes():
    lines = {"a": "PASSED", "b": "NOT DETECTABLE"}
    assert verification(lines, configuration="c" * 64)["result"] == "WARNED"
    lines["c"] = "FAILED"
    found = verification(lines, configuration="c" * 64, details={"a": {"n": 10}})
    assert found["result"] == "FAILED"
    assert found["gsu_jax_lines"]["a"] == {"verdict": "PASSED", "n": 10}


def test_ledger_is_opened_again_by_location_or_url(office):
    event = office.append("received")
    for location in (office.location, str(office.location), f"sqlite:///{office.location}"):
        assert Ledger(location).events() == [event]
        assert Ledger(location, "faces").head == event.hash


def test_ids_are_in_no_file_of_the_ledger_after_the_end(office):
    commitments = office.whole_request()
    assert not list((office.folder / "secrets").iterdir())
    stored = office.location.read_bytes() + b"".join(
        json.dumps(event.statement).encode() for event in office.ledger.events()
    )
    for name in IDS:
        assert name.encode() not in stored
        assert hashlib.sha256(name.encode()).hexdigest().encode() not in stored
    assert all(commitment.encode() in stored for commitment in commitments)
    assert office.ledger.events()[-1].predicate["commitmentKey"] == "destroyed"


def test_holder_of_the_secret_can_check_a_commitment_and_nobody_else(office):
    key = office.keys.create("2026-014")
    assert office.keys.load("2026-014").commit(IDS) == key.commit(reversed(IDS))
    assert office.keys.create("2026-015").commit(IDS) != key.commit(IDS)
    assert key.commit(["1"]) != key.commit([1])
    assert key.commit(["1"]) != key.commit(["1"], "class")
    assert repr(key) == "CommitmentKey(...)"
    secret = office.folder / "secrets" / "2026-014.secret"
    assert secret.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError, match="2026-014"):
        office.keys.create("2026-014")
    office.keys.destroy("2026-014")
    with pytest.raises(FileNotFoundError, match="2026-014"):
        office.keys.load("2026-014")


def test_refused_end_leaves_the_secret(office):
    office.append("received")
    office.keys.create("2026-014")
    with pytest.raises(ValueError, match="predicate"):
        office.append("closed", predicate={"name": "somebody"})
    with pytest.raises(TypeError, match="keys"):
        office.append("closed", keys=None)
    office.keys.load("2026-014")


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE events SET time = ''", "events"),
        ("DELETE FROM events WHERE seq = 1", "events"),
        ("INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 1", "events"),
        ("INSERT INTO events SELECT seq + 5, '', '', '', '', '', '' FROM events", "events"),
        ("UPDATE ledger SET project = 'other'", "ledger"),
        ("DELETE FROM ledger", "ledger"),
    ],
)
def test_database_takes_new_rows_alone(office, statement, table):
    office.append("received")
    before = office.location.read_bytes()
    connection = sqlite3.connect(office.location)
    with pytest.raises(sqlite3.IntegrityError, match="new rows alone"):
        connection.execute(statement)
    connection.close()
    assert office.location.read_bytes() == before


@pytest.mark.parametrize("type", EVENTS)
def test_each_type_has_one_role_that_may_sign_it(office, type):
    wrong = office.operator if EVENTS[type].signer == "verifier" else office.verifier
    with pytest.raises(ValueError, match=f"key: {type} is signed by the {EVENTS[type].signer}"):
        office.ledger.append(type, "2026-014", wrong, PREDICATES.get(type))
    assert office.ledger.events() == []


@pytest.mark.parametrize(
    ("types", "refused", "why"),
    [
        ([], "identified", "after received"),
        (["received"], "received", "received before"),
        (["received", "identified"], "ran", "after planned"),
        (["received", "identified", "planned", "ran"], "released", "after verified"),
        (["received", "refused"], "identified", "refused: nothing may follow"),
        (["received", "closed"], "purged", "closed: nothing may follow"),
    ],
)
def test_event_out_of_its_turn_is_refused(office, types, refused, why):
    for type in types:
        office.append(type)
    with pytest.raises(ValueError, match=f"2026-014|{why}") as error:
        office.append(refused)
    assert why in str(error.value)
    assert len(office.ledger.events()) == len(types)
    assert office.append("received", "2026-015").seq == len(types) + 1


@pytest.mark.parametrize(
    ("given", "error", "parts"),
    [
        ({"type": "forgotten"}, ValueError, ["type", "'forgotten'", "received"]),
        ({"request": "Jane Doe"}, ValueError, ["request", "Jane Doe", "names nobody"]),
        ({"request": ""}, ValueError, ["request"]),
        ({"predicate": {"ids": [5]}}, ValueError, ["ids", "commitments"]),
        ({"predicate": {"clam": "rows"}}, ValueError, ["clam", "'claim'"]),
        ({"predicate": {"what": "class Jane Doe"}}, ValueError, ["what", "class"]),
        ({"predicate": {"commitments": ["a.png"]}}, ValueError, ["commitments", "64"]),
        ({"predicate": {"commitments": "a.png"}}, ValueError, ["commitments", "list"]),
        ({"predicate": {"deadline": object()}}, ValueError, ["predicate", "JSON"]),
        ({"predicate": {"deadline": float("nan")}}, ValueError, ["predicate", "nan"]),
        ({"checkpoint": CHECKPOINT}, TypeError, ["checkpoint", "received"]),
        ({"type": "ran"}, TypeError, ["checkpoint", "ran"]),
        ({"type": "ran", "checkpoint": "abc"}, ValueError, ["checkpoint", "'abc'"]),
        ({"key": "operator.key"}, TypeError, ["key", "load_key"]),
        ({"keys": RequestKeys(".")}, TypeError, ["keys", "received"]),
    ],
)
def test_wrong_argument_is_named_and_nothing_is_written(office, given, error, parts):
    arguments = {"type": "received", "request": "2026-014", "key": office.operator} | given
    with pytest.raises(error) as caught:
        office.ledger.append(**arguments)
    for part in parts:
        assert part in str(caught.value)
    assert office.ledger.events() == []


def test_clock_that_was_set_back_is_refused(office):
    event = office.append("received")
    late = datetime.fromisoformat(event.time) - timedelta(hours=1)
    ledger = Ledger(office.location, clock=lambda: late)
    with pytest.raises(LedgerError, match=r"clock.*event 1") as error:
        ledger.append("received", "2026-015", office.operator)
    assert late.isoformat() in str(error.value)


def test_event_after_a_row_whose_time_was_changed_is_refused(office):
    office.append("received")
    connection = sqlite3.connect(office.location)
    connection.executescript("DROP TRIGGER events_no_UPDATE; UPDATE events SET time = 'noon'")
    connection.close()
    with pytest.raises(LedgerError, match=r"event 1 was changed.*'noon'"):
        office.append("received", "2026-015")


def test_end_that_was_interrupted_after_the_secret_was_destroyed_goes_on(office):
    office.append("received")
    office.keys.create("2026-014")
    office.keys.destroy("2026-014")
    assert office.append("refused", predicate={"reason": "no such image"}).seq == 2


def test_clock_that_is_a_little_behind_is_waited_for(office):
    ahead = datetime.now(UTC) + timedelta(seconds=0.3)
    Ledger(office.location, clock=lambda: ahead).append("received", "1", office.operator)
    event = office.append("received", "2")
    assert datetime.fromisoformat(event.time) >= ahead
    assert verify(office.ledger, office.public_keys) == []


@pytest.mark.parametrize(
    ("location", "project", "parts"),
    [
        ("nowhere/removals.sqlite", None, ["nowhere", "Ledger(location, project)"]),
        ("text", "faces", ["text", "not a database"]),
        ("other.sqlite", None, ["other.sqlite", "no ledger"]),
        ("keys", "faces", ["keys", "unable to open"]),
        ("removals.sqlite", "voices", ["'faces'", "'voices'"]),
        ("removals.sqlite", "Jane Doe", ["project", "Jane Doe"]),
        ("mysql://host/db", "faces", ["location", "mysql", "postgresql"]),
        ("sqlite://", "faces", ["location", "sqlite:///FILE"]),
        ("postgresql://u:word@127.0.0.1:1/db", "faces", ["u:***@127.0.0.1", "refused"]),
    ],
)
def test_location_that_is_no_ledger_is_named(office, monkeypatch, location, project, parts):
    monkeypatch.chdir(office.folder)
    (office.folder / "text").write_text("words " * 1000)
    connection = sqlite3.connect("other.sqlite")
    connection.execute("CREATE TABLE pets (name)")
    connection.close()
    with pytest.raises(ValueError, match=r"\S") as error:
        Ledger(location, project)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not (office.folder / "nowhere").exists()


def test_ledger_of_a_later_version_is_refused(office):
    connection = sqlite3.connect(office.location)
    connection.executescript("DROP TRIGGER ledger_no_UPDATE; UPDATE ledger SET schema = 2")
    connection.close()
    with pytest.raises(LedgerError, match="version 1"):
        Ledger(office.location)


def test_keys_are_never_overwritten_and_private_ones_are_private(office):
    folder = office.folder / "keys"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="operator"):
        Office(office.folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.key"))


def test_digest_of_a_checkpoint_depends_on_names_and_content(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "params").write_bytes(b"1")
    first = digest(tmp_path / "a")
    assert digest(tmp_path / "a") == first
    (tmp_path / "a" / "b" / "params").write_bytes(b"2")
    second = digest(tmp_path / "a")
    (tmp_path / "a" / "b" / "params").rename(tmp_path / "a" / "b" / "other")
    assert len({first, second, digest(tmp_path / "a")}) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        digest(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "nothing")
