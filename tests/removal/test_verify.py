"""`verify` finds and names what was done to a ledger."""

import base64
import json
import random
import re
import shutil
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from removal_events import Office

from gsu_jax.removal import Ledger, LedgerError, _ledger, load_public_keys, verify
from gsu_jax.removal._events import chain_hash
from gsu_jax.removal._signing import sign

COLUMNS = ("prev", "hash", "time", "type", "request", "envelope")


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return Office.with_two_requests(tmp_path_factory.mktemp("office"))


@pytest.fixture
def tampered(office, tmp_path):
    """Copies the ledger, runs SQL on the copy without its triggers, and verifies it."""

    def tampered(*statements, **given):
        path = tmp_path / "copy.sqlite"
        shutil.copy(office.location, path)
        connection = sqlite3.connect(path)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            words = (statement,) if isinstance(statement, str) else statement
            connection.execute(*words)
        connection.commit()
        connection.close()
        return verify(Ledger(path), office.public_keys, **given)

    return tampered


def test_whole_ledger_has_no_fault(office, tampered):
    assert tampered() == []
    assert verify(office.ledger, office.public_keys, project="faces") == []


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_flipped_byte_of_a_row_is_found_and_the_event_named(office, tampered, data):
    seq = data.draw(st.integers(1, 10))
    column = data.draw(st.sampled_from(COLUMNS))
    content = bytearray(getattr(office.ledger.events()[seq - 1], column).encode())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    change = f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE seq = ?"
    (sentence,) = tampered((change, (bytes(content), seq)))
    assert sentence.startswith(f"event {seq}: ")
    assert "\n" not in sentence


def test_flipped_byte_inside_the_payload_is_found(office, tampered):
    event = office.ledger.events()[3]
    envelope = json.loads(event.envelope)
    payload = bytearray(base64.b64decode(envelope["payload"]))
    at = payload.index(b"redirect_flow")
    payload[at] ^= 1
    envelope["payload"] = base64.b64encode(payload).decode()
    text = json.dumps(envelope, separators=(",", ":"), sort_keys=True)
    (sentence,) = tampered(("UPDATE events SET envelope = ? WHERE seq = 4", (text,)))
    assert sentence == "event 4: the signature does not fit the envelope, which was changed"


def test_flipped_byte_of_the_file_changes_nothing_or_is_found(office, tmp_path):
    whole, path = office.location.read_bytes(), tmp_path / "copy.sqlite"
    draw = random.Random(0)
    found = 0
    for _ in range(60):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
        path.write_bytes(content)
        try:
            ledger = Ledger(path)
            faults = verify(ledger, office.public_keys)
            unchanged = not faults and ledger.events() == office.ledger.events()
        except LedgerError as error:
            faults, unchanged = [str(error)], False
        assert unchanged or faults
        assert not any("\n" in sentence for sentence in faults)
        found += bool(faults)
    assert found > 10


@pytest.mark.parametrize(
    ("removed", "sentence"),
    [
        ("= 1", "event 1 is missing: its row was removed"),
        ("= 5", "event 5 is missing: its row was removed"),
        ("IN (4, 5, 6)", "events 4 to 6 are missing: removed"),
    ],
)
def test_removed_row_is_named(tampered, removed, sentence):
    assert tampered(f"DELETE FROM events WHERE seq {removed}") == [sentence]


def test_rows_removed_from_the_end_are_found_by_the_head_of_a_receipt(office, tampered):
    head = office.ledger.head
    assert tampered("DELETE FROM events WHERE seq > 7") == []
    (sentence,) = tampered("DELETE FROM events WHERE seq > 7", head=head)
    assert head in sentence
    assert "number 7 were removed" in sentence
    assert tampered(head=head) == []


def test_reordered_rows_are_named(tampered):
    columns = ", ".join(f"{c} = (SELECT {c} FROM old WHERE seq = 7 - events.seq)" for c in COLUMNS)
    swapped = tampered(
        "CREATE TABLE old AS SELECT * FROM events",
        f"UPDATE events SET {columns} WHERE seq IN (3, 4)",
    )
    assert swapped == [
        "event 3: this row holds event 4: rows were reordered",
        "event 4: this row holds event 3: rows were reordered",
    ]


def test_wrong_key_is_named_with_both_keys(office, tmp_path):
    stranger = Office(tmp_path / "stranger")
    faults = verify(office.ledger, stranger.public_keys)
    assert len(faults) == 10
    key, other = (o.public_keys["operator"][0].keyid[:16] for o in (office, stranger))
    assert faults[0] == f"event 1: it is signed with key {key}, and the key given is {other}"
    mixed = {**office.public_keys, "verifier": stranger.public_keys["verifier"]}
    (sentence,) = verify(office.ledger, mixed)
    assert sentence.startswith("event 5: it is signed with key")


def test_earlier_keys_of_a_role_still_count(office, tmp_path):
    Office(tmp_path)
    for role in ("operator", "verifier"):
        old = office.folder / "keys" / f"{role}.pub"
        shutil.copy(old, tmp_path / "keys" / f"{role}-2025.pub")
    assert verify(office.ledger, load_public_keys(tmp_path / "keys")) == []


def _signed(office, seq, change, key):
    """SQL that replaces row `seq` by one with a changed statement, signed and hashed anew."""
    event = office.ledger.events()[seq - 1]
    statement = event.statement
    link = statement["predicate"]["gsu_jax_event"]
    change(statement["predicate"])
    envelope = sign(statement, key.signer)
    row = [link[name] for name in ("time", "type", "request")]
    row += [envelope.decode(), chain_hash(event.prev, envelope), seq]
    columns = "time = ?, type = ?, request = ?, envelope = ?, hash = ?"
    return (f"UPDATE events SET {columns} WHERE seq = ?", row)


def _link(name, value):
    return lambda predicate: predicate["gsu_jax_event"].update({name: value})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_link("time", "2020-01-01T00:00:00.000000+00:00"), "the clock was set back"),
        (_link("time", "yesterday"), "no time in UTC"),
        (_link("project", "voices"), "signed for project 'voices', not for 'faces'"),
        (_link("seq", 3), "this row holds event 3"),
        (_link("request", "2026-014"), "closed: nothing may follow"),
        (_link("type", "verified"), "signed by the operator; 'verified' is for the verifier"),
        (lambda predicate: predicate.pop("gsu_jax_event"), "no event of a ledger"),
        (lambda predicate: predicate.update(names=["Jane Doe"]), "'names'"),
    ],
)
def test_event_that_the_operator_signed_wrongly_is_named(office, tampered, change, part):
    faults = tampered(_signed(office, 10, change, office.operator))
    assert len(faults) == 1
    assert faults[0].startswith("event 10: ")
    assert part in faults[0]


def test_event_changed_and_signed_anew_breaks_the_chain_after_it(office, tampered):
    change = lambda predicate: predicate.update(count=1)  # noqa: E731
    (sentence,) = tampered(_signed(office, 2, change, office.operator))
    assert sentence.startswith("event 3: it does not follow event 2")


def _unchecked(monkeypatch):
    """Writes as a program would that does not know the order of events."""
    monkeypatch.setattr(_ledger.History, "refusal", lambda *_: "")


def _up_to(office, *types):
    office.keys.create("2026-014")
    for type in ("received", "identified", "planned", *types):
        office.append(type)
    assert verify(office.ledger, office.public_keys) == []


@pytest.mark.parametrize("type", ["verified", "released", "remeasured"])
def test_event_about_other_weights_than_those_of_the_run_is_refused_and_named(
    tmp_path, monkeypatch, type
):
    office = Office(tmp_path)
    _up_to(office, "ran", "verified")
    said = f"{type} is about other weights than the last run of request 2026-014"
    with pytest.raises(ValueError, match=said):
        office.append(type, checkpoint="f" * 64)
    with monkeypatch.context() as patch:
        _unchecked(patch)
        office.append(type, checkpoint="f" * 64)
    assert verify(office.ledger, office.public_keys) == [f"event 6: {said}"]


LEGAL = {
    "identified": {"received"},
    "planned": {"identified", "planned", "undone"},
    "ran": {"planned"},
    "verified": {"ran", "verified", "released"},
    "remeasured": {"ran", "verified", "released"},
    "released": {"verified"},
    "undone": {"ran", "verified", "released"},
}
TO = {  # the shortest way to each step
    "received": [],
    "identified": ["identified"],
    "planned": ["identified", "planned"],
    "ran": ["identified", "planned", "ran"],
    "verified": ["identified", "planned", "ran", "verified"],
    "released": ["identified", "planned", "ran", "verified", "released"],
    "undone": ["identified", "planned", "ran", "verified", "released", "undone"],
}


@pytest.mark.parametrize("type", LEGAL)
def test_event_that_does_not_follow_from_the_last_step_is_refused_and_named(
    tmp_path, monkeypatch, type
):
    office = Office(tmp_path)
    for number, (step, way) in enumerate(TO.items()):
        request = f"{type}-{number}"
        for each in ("received", *way):
            office.append(each, request)
        if step in LEGAL[type]:
            office.append(type, request)
            continue
        before = office.ledger.events()
        with pytest.raises(ValueError, match=f"{request}") as error:
            office.append(type, request)
        assert "\n" not in str(error.value)
        assert office.ledger.events() == before
        with monkeypatch.context() as patch:
            _unchecked(patch)
            copy = Office.__new__(Office)
            vars(copy).update(vars(office))
            copy.ledger = Ledger(shutil.copy(office.location, tmp_path / f"{request}.sqlite"))
            copy.append(type, request)
        (sentence,) = verify(copy.ledger, office.public_keys)
        assert sentence == f"event {len(before) + 1}: {error.value}"
    assert verify(office.ledger, office.public_keys) == []


def test_one_key_for_both_roles_is_named(office):
    keys = {"operator": office.public_keys["operator"], "verifier": office.public_keys["operator"]}
    first = verify(office.ledger, keys)[0]
    assert first.startswith("operator and verifier have one key, ")


def test_ledger_of_another_project_is_named(office, tampered):
    (sentence,) = verify(office.ledger, office.public_keys, project="voices")
    assert re.search("'faces'.*'voices'", sentence)
    faults = tampered("UPDATE ledger SET project = 'voices'")
    assert faults[0] == "event 1: it was signed for project 'faces', not for 'voices'"


def test_rows_of_another_ledger_of_the_same_project_do_not_fit(office, tampered, tmp_path):
    other = Office(tmp_path / "other")
    other.operator = office.operator
    event = [other.append("received", str(n)) for n in range(10)][-1]
    columns = ", ".join(f"{column} = ?" for column in COLUMNS)
    row = tuple(getattr(event, column) for column in COLUMNS)
    (sentence,) = tampered((f"UPDATE events SET {columns} WHERE seq = 10", row))
    assert sentence.startswith("event 10: it does not follow event 9")


def test_role_without_a_key_is_refused(office):
    with pytest.raises(ValueError, match=r"public_keys .*verifier"):
        verify(office.ledger, {"operator": office.public_keys["operator"]})
    with pytest.raises(ValueError, match="auditor"):
        verify(office.ledger, {**office.public_keys, "auditor": []})
