"""A ledger in PostgreSQL: a real server, on a socket in a temporary folder.

`apt-get install postgresql` has the programs; the tests are skipped where they are missing.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from removal_desk import NUMBER, Desk, check_race, race_two_runs
from removal_events import PREDICATES, Office, check_nothing_lost, memory_folder, run_writers

from gsu_jax.cli import _removal
from gsu_jax.removal import Ledger, LedgerError, read_request, verify
from gsu_jax.removal.service import Case, plan

SECONDS = 60.0


def program(name):
    """The path of a program of PostgreSQL, or a skip that says how to get it."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, folders)]))
    if found is None:
        pytest.skip(f"no {name}: apt-get install postgresql")
    return found


def unprivileged():
    """The user to run the server as, which refuses to be root: None for this user."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def server():
    """The folder of the server's socket."""
    initdb, postgres, user = program("initdb"), program("postgres"), unprivileged()
    # A socket needs a short path.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory_folder() or "/tmp"))
    if user is not None:
        shutil.chown(folder, user)
    given = {"user": user, "cwd": folder, "stdin": subprocess.DEVNULL}
    data, log = str(folder / "data"), folder / "log"
    made = subprocess.run(
        [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        capture_output=True,
        text=True,
        **given,
    )
    assert made.returncode == 0, made.stderr
    command = [postgres, "-D", data, "-k", str(folder), "-c", "listen_addresses="]
    with log.open("w") as out:
        process = subprocess.Popen([*command, "-c", "fsync=off"], stdout=out, stderr=out, **given)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                connect(folder).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield folder
    finally:
        process.send_signal(signal.SIGQUIT)  # ends at once; nothing of it is kept
        process.wait()
        shutil.rmtree(folder)


def connect(folder, database="postgres"):
    return psycopg.connect(host=str(folder), user="postgres", dbname=database, autocommit=True)


@pytest.fixture
def office(server, tmp_path, request):
    """An office whose ledger is a database of its own."""
    name = f"l{abs(hash(request.node.name))}"
    with connect(server) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    office = Office(tmp_path, location=f"postgresql://postgres@/{name}?host={server}")
    office.database = lambda: connect(server, name)
    return office


def test_request_is_recorded_and_verified(office, capsys):
    office.whole_request()
    assert [event.type for event in Ledger(office.location).events()] == list(PREDICATES)
    assert verify(office.ledger, office.public_keys, head=office.ledger.head) == []
    words = ["ledger", "verify", office.location, "--keys", str(office.folder / "keys")]
    assert _removal.main(words) == 0
    assert capsys.readouterr().out.startswith("whole: 9 events of 1 request of project faces\n")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET time = ''",
        "DELETE FROM events WHERE seq = 1",
        "TRUNCATE events",
        "INSERT INTO events SELECT * FROM events ON CONFLICT (seq) DO UPDATE SET time = ''",
        "UPDATE ledger SET project = 'other'",
    ],
)
def test_database_takes_new_rows_alone(office, statement):
    event = office.append("received")
    with office.database() as connection, pytest.raises(psycopg.Error, match="new rows alone"):
        connection.execute(statement)
    assert office.ledger.events() == [event]


def test_changed_row_is_named(office):
    office.whole_request()
    with office.database() as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER ALL")
        connection.execute("UPDATE events SET request = '2026-015' WHERE seq = 4")
        connection.execute("DELETE FROM events WHERE seq = 6")
    first, second = verify(office.ledger, office.public_keys)
    assert first == "event 4: its request is '2026-015', and '2026-014' was signed"
    assert second == "event 6 is missing: its row was removed"


def test_two_operators_at_once_begin_one_ledger_and_lose_nothing(office):
    with office.database() as connection:
        connection.execute("DROP TABLE events, ledger; DROP FUNCTION gsu_jax_append_only")
    codes, acknowledged = run_writers(office.location, office.folder / "keys", 2, events=30)
    assert codes == [0, 0]
    assert check_nothing_lost(office.ledger, office.public_keys, acknowledged) == 60


def test_operators_killed_at_random_moments_lose_nothing(office):
    codes, acknowledged = run_writers(office.location, office.folder / "keys", 2, kills=20)
    assert codes == [signal.SIGKILL] * 40
    assert len(acknowledged) >= 15
    check_nothing_lost(office.ledger, office.public_keys, acknowledged)


def test_of_two_runs_at_once_one_is_taken_and_the_other_is_told_what_to_do(
    office, tmp_path, monkeypatch
):
    desk = Desk(tmp_path / "desk")
    case = Case(desk.home, NUMBER, ledger=office.location)
    plan(read_request(desk.file), case, modules=desk.folder)
    said = race_two_runs(desk, tmp_path / "other", office.location, monkeypatch)
    check_race(said, desk, office.location)


def test_ledger_of_another_project_or_without_a_server_is_refused(office, tmp_path):
    with pytest.raises(LedgerError, match=r"'faces'.*'voices'"):
        Ledger(office.location, "voices")
    with pytest.raises(LedgerError, match=r"ledger postgresql:.* failed"):
        Ledger(f"postgresql://postgres@/postgres?host={tmp_path}")
