"""`exclusive`: one run in a folder."""

import os
import signal
import subprocess
import sys

import pytest
import tiny_study

from gsu_jax.storage import exclusive

HOLDER = """
import sys
from gsu_jax.storage import exclusive
with exclusive(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_folder_is_made_and_released(tmp_path):
    for _ in range(2):
        with exclusive(tmp_path / "a" / "b") as folder:
            assert folder.is_dir()


def test_second_run_is_refused_while_the_first_holds_the_folder(tmp_path):
    with exclusive(tmp_path), pytest.raises(ValueError, match="in use"), exclusive(tmp_path):
        pass


def test_lock_of_another_process_ends_with_that_process(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env=tiny_study.ENVIRONMENT) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match="in use"), exclusive(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with exclusive(tmp_path):
        pass


def test_file_in_place_of_the_folder_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("words")
    with pytest.raises(NotADirectoryError, match="precious"), exclusive(path):
        pass
    with pytest.raises(OSError, match=r"precious/out .*Not a directory"), exclusive(path / "out"):
        pass
    assert path.read_text() == "words"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_refused(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(OSError, match="Permission denied"), exclusive(folder):
        pass
