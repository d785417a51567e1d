"""Writers that are killed, and writers at once: what was acknowledged is in the ledger."""

import os
import re
import shutil
import signal
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from removal_events import Office, check_nothing_lost, memory_folder, run_writers
from removal_page import table
from tiny_study import ROOT

from gsu_jax.removal import Ledger, LedgerError, _database, verify

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forks")


@pytest.fixture
def fast_office():
    """An office in memory, if there is such a folder: a disk would take most of the time."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        yield Office(Path(folder))


def test_writers_killed_at_random_moments_lose_nothing(fast_office):
    office = fast_office
    codes, acknowledged = run_writers(office.location, office.folder / "keys", 2, kills=20)
    assert codes == [signal.SIGKILL] * 40
    assert len(acknowledged) >= 15
    kept = check_nothing_lost(office.ledger, office.public_keys, acknowledged)
    assert kept <= len(acknowledged) + 40  # written, and killed before it was said
    assert office.append("received").seq == kept + 1


def test_two_writers_at_once_begin_one_ledger_and_lose_nothing(fast_office):
    location = fast_office.folder / "new.sqlite"
    codes, acknowledged = run_writers(location, fast_office.folder / "keys", 2, events=30)
    assert codes == [0, 0]
    assert len(acknowledged) == 60
    assert check_nothing_lost(Ledger(location), fast_office.public_keys, acknowledged) == 60


def test_two_operators_who_race_on_one_request_receive_it_once(fast_office):
    def receive(_):
        try:
            return fast_office.append("received").seq
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        said = sorted(map(str, pool.map(receive, range(8))))
    assert said == ["1"] + ["request 2026-014 was received before; give it another number"] * 7


def test_event_of_a_full_disk_is_refused_and_the_chain_stays_whole(office, monkeypatch):
    office.whole_request()
    connection = sqlite3.connect(office.location)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    prepare = _database._prepare_sqlite

    def full(connection, record):
        prepare(connection, record)
        connection.execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(_database, "_prepare_sqlite", full)
    ledger = Ledger(office.location)
    with pytest.raises(LedgerError, match="full"):  # a page has room for some
        _ = [ledger.append("received", str(n), office.operator) for n in range(100)]
    assert verify(office.ledger, office.public_keys) == []


def test_page_of_faults_names_tests_that_are_there():
    named = [test for row in table("Faults") for test in re.findall(r"`(\w+)`", row[-1])]
    folders = ("removal", "storage", "data")
    files = [path for name in folders for path in ROOT.glob(f"tests/{name}/test_*.py")]
    files.append(ROOT / "tests" / "cli" / "test_removal_steps.py")
    there = set(re.findall(r"^def (test_\w+)", "".join(f.read_text() for f in files), re.M))
    assert len(named) >= 30
    assert set(named) - there == set()


def test_ledger_that_may_not_be_written_is_still_verified(office):
    office.whole_request()
    copy = office.folder / "copy.sqlite"
    shutil.copy(office.location, copy)
    copy.chmod(0o400)
    assert verify(Ledger(copy), office.public_keys) == []
