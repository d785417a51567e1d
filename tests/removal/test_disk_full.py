"""A disk that is full at any moment: one line, nothing is lost, and the same command goes on."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
from unittest import mock

import pytest
import tiny_study
from removal_desk import NUMBER, check_desk

from gsu_jax.removal import RequestKeys, init_keys, load_key, load_public_keys
from gsu_jax.removal._database import Database
from gsu_jax.storage import _checkpoints, write_whole

FULL = "No space left on device"
STEPS = {  # name -> the desk before it, and the command
    "plan": ("plan", ("plan", "request.toml")),
    "run": ("run", ("run", NUMBER)),
    "verify": ("verify", ("verify", NUMBER)),
    "report": ("release", ("report", NUMBER)),
    "release": ("release", ("release", NUMBER)),
    "undo": ("close", ("undo", NUMBER)),
    "purge": ("close", ("purge", NUMBER)),
    "close": ("close", ("close", NUMBER)),
}
KEPT = ("plan", "run", "verify", "report", "release", "undo")  # steps that remove nothing


def no_space():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def full_disk(moment):
    """From the n-th write to the disk on, each one fails; yields how many there were."""
    writes = [0]

    def count():
        writes[0] += 1
        if writes[0] >= moment:
            no_space()

    def before(function):
        def wrapped(*args, **kwargs):
            count()
            return function(*args, **kwargs)

        return wrapped

    write_event = Database.writing

    @contextlib.contextmanager
    def writing(self):
        with write_event(self) as connection:
            yield connection
            count()  # the transaction is rolled back, as SQLite does

    with contextlib.ExitStack() as stack:
        for owner, name in (
            (os, "fsync"),
            (tempfile, "mkdtemp"),
            (_checkpoints, "write_arrays"),
        ):
            stack.enter_context(mock.patch.object(owner, name, before(getattr(owner, name))))
        stack.enter_context(mock.patch.object(Database, "writing", writing))
        yield writes


@pytest.mark.parametrize("name", STEPS)
def test_step_on_a_full_disk_is_one_line_and_goes_on(
    desks, quick, say, tmp_path, monkeypatch, name
):
    before, words = STEPS[name]
    for moment in range(1, 30):
        desk = desks[before].copy(tmp_path / str(moment))
        files = desk.snapshot()
        monkeypatch.chdir(desk.folder)
        with full_disk(moment) as writes:
            status, printed, errors = say(*words, "--folder", desk.home)
        if writes[0] < moment:
            assert (status, errors) == (0, "")
            break
        assert (status, printed) == (2, "")
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert FULL in errors
        assert "check free space" in errors
        assert str(desk.folder) in errors
        left = desk.snapshot()
        assert not [path for path in left if "/." in path or path.endswith("-journal")]
        if name in KEPT:
            for path, content in files.items():
                assert path.endswith("ledger.sqlite") or left[path] == content, path
        if name != "plan":  # before it there is no ledger
            check_desk(desk)
        status, _, errors = say(*words, "--folder", desk.home)
        assert (status, errors) == (0, "")
        check_desk(desk)
    assert moment > 1


def test_full_disk_leaves_no_half_of_the_keys(tmp_path):
    for moment in range(1, 10):
        folder = tmp_path / str(moment)
        with full_disk(moment) as writes, contextlib.suppress(OSError):
            init_keys(folder)
        if writes[0] < moment:
            break
        assert list(folder.iterdir()) == []
        init_keys(folder)
        assert load_key(folder, "operator").role == "operator"
        assert len(load_public_keys(folder)) == 2
    assert moment == 5


def test_full_disk_leaves_no_half_of_a_secret(tmp_path):
    secrets = RequestKeys(tmp_path / "secrets")
    with full_disk(1), pytest.raises(OSError, match=rf"{NUMBER}\.secret: {FULL}"):
        secrets.create(NUMBER)
    key = secrets.create(NUMBER)
    assert secrets.load(NUMBER).commit([3]) == key.commit([3])
    with full_disk(1), pytest.raises(OSError, match=rf"cannot destroy .*{NUMBER}\.secret"):
        secrets.destroy(NUMBER)
    assert secrets.destroy(NUMBER)


def test_new_file_takes_no_place_that_is_taken(tmp_path):
    write_whole(tmp_path / "key", "mine", private=True, new=True)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "key", "other", private=True, new=True)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_text() == "mine"
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    with pytest.raises(OSError, match=r"cannot write .*key/inner"):
        write_whole(tmp_path / "key" / "inner", "other", new=True)


def test_ledger_that_a_full_disk_left_empty_is_begun_by_the_same_command(
    desks, quick, say, tmp_path, monkeypatch
):
    desk = desks["plan"].copy(tmp_path / "desk")
    (desk.home / "ledger.sqlite").touch()
    monkeypatch.chdir(desk.folder)
    assert say("plan", "request.toml", "--folder", desk.home)[0] == 0
    assert desk.types == ["received", "identified", "planned"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_output_that_cannot_be_written_is_one_line(office):
    office.whole_request()
    command = [sys.executable, "-m", "gsu_jax", "removal", "ledger", "show", str(office.location)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=tiny_study.ENVIRONMENT
        )
    assert done.returncode == 2
    assert done.stderr == f"error: standard output: {FULL}; what the command did stands\n"


@pytest.mark.long
def test_real_disk_without_room_loses_nothing(desks, tmp_path):
    alone = ["unshare", "-Urm"]
    try:
        subprocess.run([*alone, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespace may be made here")
    desk = desks["plan"].copy(tmp_path / "desk")
    (tmp_path / "disk").mkdir()
    program = str(tiny_study.ROOT / "tests" / "full_disk_program.py")
    path = f"{tiny_study.ROOT}:{tiny_study.ROOT / 'tests'}"
    done = subprocess.run(
        [*alone, sys.executable, program, str(desk.folder), str(tmp_path / "disk")],
        capture_output=True,
        text=True,
        env=tiny_study.ENVIRONMENT | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    steps = [name for name, _, status, *_ in said if status == 0]
    assert steps == ["plan", "run", "report", "release", "close"]
    refused = [errors for *_, status, _, errors in said if status]
    assert len(refused) >= 5
    for errors in refused:
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert FULL in errors or "disk is full" in errors or "disk I/O" in errors
        assert "check free space" in errors
