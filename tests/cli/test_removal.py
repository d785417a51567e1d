"""`gsu-jax removal ledger`: keys, whether a ledger is whole, and what is in it."""

import json
import shutil
import sqlite3
import subprocess
import sys

import pytest
import tiny_study
from removal_events import PREDICATES, Office
from removal_page import check_message, messages


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return Office.with_two_requests(tmp_path_factory.mktemp("office"))


def test_keys_that_are_made_verify_a_ledger(say, tmp_path):
    status, printed, _ = say("ledger", "init-keys", tmp_path / "keys")
    assert status == 0
    assert [line.rsplit("/", 1)[1] for line in printed.splitlines()] == [
        "operator.key",
        "operator.pub",
        "verifier.key",
        "verifier.pub",
    ]


def test_whole_ledger_is_said_to_be_whole_with_its_head(say, office):
    keys = office.folder / "keys"
    status, printed, errors = say("ledger", "verify", office.location, "--keys", keys)
    assert (status, errors) == (0, "")
    assert printed == (
        f"whole: 10 events of 2 requests of project faces\nhead: {office.ledger.head}\n"
    )


def test_public_keys_alone_are_enough(say, office, tmp_path):
    for path in (office.folder / "keys").glob("*.pub"):
        shutil.copy(path, tmp_path)
    words = ("--keys", tmp_path, "--project", "faces", "--head", office.ledger.head)
    assert say("ledger", "verify", office.location, *words)[0] == 0


def test_faults_are_printed_a_line_each_with_status_1(say, office, tmp_path):
    path = tmp_path / "copy.sqlite"
    shutil.copy(office.location, path)
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TRIGGER events_no_UPDATE; DROP TRIGGER events_no_DELETE;"
        "UPDATE events SET type = char(27) || '[2Jran' WHERE seq = 3;"
        "DELETE FROM events WHERE seq = 6"
    )
    connection.close()
    status, printed, errors = say("ledger", "verify", path, "--keys", office.folder / "keys")
    assert (status, errors) == (1, "")
    assert [line[:8] for line in printed.splitlines()] == ["event 3:", "event 6 "]
    status, printed, errors = say("ledger", "show", path)
    assert status == 0
    assert "\x1b" not in printed
    words = ("--keys", office.folder / "keys", "--project", "voices")
    status, printed, _ = say("ledger", "verify", office.location, *words)
    assert (status, printed.count("\n")) == (1, 1)


def test_events_are_shown_a_line_each(say, office):
    status, printed, _ = say("ledger", "show", office.location)
    lines = printed.splitlines()
    assert (status, len(lines)) == (0, 10)
    for line, type in zip(lines, PREDICATES, strict=False):
        assert f"  {type}  " in line
    assert lines[4].split()[2:4] == ["verified", "verifier"]
    _, printed, _ = say("ledger", "show", office.location, "--request", "2026-015")
    assert printed.count("\n") == 1


def test_statements_are_shown_as_json(say, office):
    _, printed, _ = say("ledger", "show", office.location, "--json")
    statements = [json.loads(line) for line in printed.splitlines()]
    assert statements == [event.statement for event in office.ledger.events()]


MISTAKES = [
    ([], ["ledger"]),
    (["ledger"], ["verify|show|init-keys"]),
    (["legder"], ["'legder'"]),
    (["ledger", "verfy"], ["'verfy'", "verify"]),
    (["ledger", "verify", "removals.sqlite"], ["--keys"]),
    (["ledger", "verify", "nowhere.sqlite", "--keys", "keys"], ["nowhere.sqlite"]),
    (["ledger", "verify", "removals.sqlite", "--keys", "nowhere"], ["operator.pub"]),
    (["ledger", "verify", "keys/operator.pub", "--keys", "keys"], ["not a database"]),
    (["ledger", "verify", "mysql://u:word@host/db", "--keys", "keys"], ["mysql://u:***@"]),
    (["ledger", "verify", "removals.sqlite", "--keys", "keys", "--head", "0f3a"], ["head", "64"]),
    (["ledger", "show", "nowhere.sqlite"], ["no ledger nowhere.sqlite"]),
    (["ledger", "show", "removals.sqlite", "--request", "7"], ["--request 7"]),
    (["ledger", "show", "removals.sqlite", "--jsn"], ["--jsn"]),
    (["ledger", "init-keys"], ["DIR"]),
    (["ledger", "init-keys", "keys"], ["keys/operator.key", "exists"]),
    (["ledger", "init-keys", "removals.sqlite/keys"], ["removals.sqlite"]),
]


@pytest.mark.parametrize(("words", "parts"), MISTAKES)
def test_mistake_ends_in_one_line_and_status_2(say, office, monkeypatch, words, parts):
    monkeypatch.chdir(office.folder)
    before = sorted(office.folder.rglob("*"))
    status, printed, errors = say(*words)
    assert (status, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "word" not in errors
    for part in parts:
        assert part in errors
    assert sorted(office.folder.rglob("*")) == before
    check_message("Bad commands of the ledger", _shown(words), errors, office.folder)


def _shown(words):
    return " ".join(words) or "(nothing)"


def test_page_has_each_mistake_with_the_ledger_and_no_other():
    shown = messages("Bad commands of the ledger")
    assert shown.keys() == {_shown(words) for words, _ in MISTAKES}


def test_command_is_one_of_gsu_jax(office):
    command = [sys.executable, "-m", "gsu_jax", "removal", "ledger", "show", str(office.location)]
    done = subprocess.run(command, capture_output=True, text=True, env=tiny_study.ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 10
