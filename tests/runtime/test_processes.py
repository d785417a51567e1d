"""Several processes on loopback: what they give together, and what is said when one is gone."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import process_program
import pytest
from tiny_study import ENVIRONMENT, ROOT, read

from gsu_jax import networks
from gsu_jax.cli import _launch as launch
from gsu_jax.runtime import _processes as processes
from gsu_jax.runtime import _rendezvous as rendezvous
from gsu_jax.runtime import check_processes, make_mesh
from gsu_jax.study import _checkpointed_runs as trained

PROGRAM = str(Path(process_program.__file__))
ONE_DEVICE = ENVIRONMENT | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}


@contextmanager
def launched(*words, environment=ONE_DEVICE):
    """A launcher at work; what it leaves behind is killed."""
    command = [sys.executable, "-m", "gsu_jax", "launch", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **streams, env=environment, cwd=ROOT) as run:
        try:
            yield run
        finally:
            run.terminate()  # it stops its children


def run(*words, seconds=120, **options):
    """Exit status, standard output and standard error of a launcher that ends by itself."""
    with launched(*words, **options) as process:
        printed, said = process.communicate(timeout=seconds)
    return process.returncode, printed, said


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# What they give together


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


def assert_same_figures(folder, expected):
    times = ("seconds", "compile_seconds")
    found, wanted = (read(f)["rows"] for f in (folder, expected))
    assert [list(row) for row in found] == [list(row) for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        for name in row.keys() - {*times}:
            if isinstance(row[name], float):
                # A sample on a border between two classes may change its side.
                np.testing.assert_allclose(row[name], other[name], rtol=2e-3, atol=0.011)
            else:
                assert row[name] == other[name]


@pytest.mark.slow
def test_a_study_killed_half_way_goes_on_with_one_process_as_with_two(cache, tmp_path, monkeypatch):
    log, out = tmp_path / "log.jsonl", tmp_path
    words = ["--processes", "2", PROGRAM, "study", str(out), str(cache), "data=2"]
    with launched(*words, "0.3") as process:
        wait_for(lambda: log.exists() and '"name": "before"' in log.read_text())
        os.kill(int((out / "pid-1").read_text()), signal.SIGKILL)
        killed_at = time.monotonic()
        printed, said = process.communicate(timeout=60)
    assert time.monotonic() - killed_at < 30
    assert process.returncode == 1
    assert printed == ""
    line = "process 1 of 2 was lost (killed by signal 9); the same command again goes on from the"
    assert [part for part in said.splitlines() if "lost" in part] == [
        f"{line} last checkpoint, with any number of processes"
    ]
    assert read(out)["rows"] == []
    both = shutil.copytree(out, tmp_path / "both")

    for module, name in ((networks, "classifier"), (trained, "SAVE_EVERY")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end
    process_program.run_study(out, cache, None)
    assert len(read(out)["rows"]) == 2

    words[4] = str(both)
    assert run(*words) == (0, "finished\n", "")
    assert_same_figures(both, out)
    assert read(both)["environment"] == read(both)["environment"] | {"processes": 2}
    assert (both / "report.html").exists()
    assert len(list((both / "samples").glob("*.png"))) == 2


def test_processes_hear_what_the_first_one_finds_its_errors_too(tmp_path):
    words = ["--processes", "2", PROGRAM, "facts", str(tmp_path)]
    assert run(*words) == (2, "", "error: all have had their say\n")
    found = [json.loads((tmp_path / f"facts-{i}.json").read_text()) for i in (0, 1)]
    assert found[0] == found[1]
    assert "No such file" in found[0].pop("error")
    assert found[0] == {
        "from_all": [{"own": 0}, {"own": 1}],
        "from_first": 10,
        "nested": 0,
        "bits": np.array([-0.0, np.nan, 0], np.float32).tobytes().hex(),
        "kinds": [True, True],
        "to_host": [0, 1, 2, 3],
    }


def test_a_study_without_a_mesh_is_refused_in_one_line(tmp_path, cache):
    words = ["--processes", "2", PROGRAM, "study", str(tmp_path), str(cache), ""]
    assert run(*words) == (
        2,
        "",
        "error: 2 processes share each batch over a mesh, which is not given; give --mesh data=2, "
        "or start one process.\n",
    )


def test_a_mesh_that_leaves_a_process_out_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ValueError, match="has devices of 1 of them; give --mesh data=8"):
        check_processes(make_mesh("data=8"))


# One launcher for each process, as on two machines


@pytest.mark.parametrize("lost", [0, 1])
def test_a_launcher_says_which_process_of_another_machine_was_lost(tmp_path, lost):
    place = ["--processes", "2", "--coordinator", f"127.0.0.1:{free_port()}", "--heartbeat", "4"]
    program = [PROGRAM, "sums", str(tmp_path)]
    with (
        launched(*place, "--process", str(lost), *program) as gone,
        launched(*place, "--process", str(1 - lost), *program) as left,
    ):
        wait_for(lambda: len(list(tmp_path.glob("summed-*"))) == 2)
        os.kill(int((tmp_path / f"pid-{lost}").read_text()), signal.SIGKILL)
        assert "(killed by signal 9)" in gone.communicate(timeout=30)[1]
        _, said = left.communicate(timeout=30)
    assert left.returncode == 1
    assert re.search(rf"^process {lost} of 2 was lost \(.*\); the same command again", said, re.M)


def test_processes_end_with_their_launcher(tmp_path):
    with launched("--processes", "2", PROGRAM, "sums", str(tmp_path)) as process:
        wait_for(lambda: len(list(tmp_path.glob("summed-*"))) == 2)
        process.kill()
        for i in (0, 1):
            # /proc keeps what is not waited for yet, without a command line.
            line = Path(f"/proc/{(tmp_path / f'pid-{i}').read_text()}/cmdline")
            wait_for(lambda line=line: not line.exists() or not line.read_bytes(), seconds=10)


def test_a_process_that_never_comes_is_named():
    coordinator = f"127.0.0.1:{free_port()}"
    place = ["--processes", "2", "--process", "0", "--coordinator", coordinator, "--wait", "0.5"]
    status, printed, said = run(*place, "experiments/digits.py", "--mesh", "data=2")
    assert (status, printed) == (2, "")
    assert said.startswith(f"error: process 1 of 2 did not come to {coordinator} within 0.5 s; ")
    assert said.count("\n") == 1


# Waiting for each other


def meet_all(*callers, coordinator, wait=5.0):
    """What each process finds: None, or an error; a caller is (process, processes)."""
    found = {}

    def meet(i, process, count):
        try:
            found[i] = rendezvous.rendezvous(coordinator, count, process, wait)
        except (TimeoutError, ValueError) as error:
            found[i] = error

    threads = [threading.Thread(target=meet, args=(i, *c)) for i, c in enumerate(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[i] for i in range(len(callers))]


@pytest.fixture
def coordinator():
    return f"localhost:{free_port()}"


def test_processes_that_all_come_leave_the_port_free(coordinator):
    for _ in range(2):
        assert meet_all((0, 3), (1, 3), (2, 3), coordinator=coordinator) == [None] * 3


def test_the_missing_are_named_to_all_that_came(coordinator):
    for error in meet_all((0, 4), (2, 4), coordinator=coordinator, wait=0.5):
        assert isinstance(error, TimeoutError)
        assert str(error).startswith(f"processes 1, 3 of 4 did not come to {coordinator} within")


def test_a_first_process_that_does_not_come_is_named(coordinator):
    (error,) = meet_all((1, 2), coordinator=coordinator, wait=0.5)
    assert str(error).startswith("process 0 of 2 did not come")


def test_processes_of_one_number_or_of_two_counts_are_refused_on_all(coordinator):
    errors = meet_all((0, 3), (1, 3), (1, 3), coordinator=coordinator, wait=1.0)
    assert {str(error) for error in errors} >= {
        "two processes are number 1; give each a --process of its own."
    }
    errors = meet_all((0, 3), (1, 2), coordinator=coordinator)
    message = "process 1 was started with --processes 2, process 0 with 3; give all the same."
    assert [str(error) for error in errors] == [message] * 2


def test_a_port_in_use_is_refused():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen at port {port} .*; give another"):
            rendezvous.rendezvous(f"localhost:{port}", 2, 0, 1.0)


# The command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes", "0"], "--processes must be at least 1, found 0"),
        (["--processes", "2", "--process", "0"], "--process and --coordinator go together"),
        (["--processes", "2", "--coordinator", "a:1"], "--process and --coordinator go together"),
        (
            ["--processes", "2", "--process", "2", "--coordinator", "a:1"],
            "--process must be one of 0 to 1, found 2",
        ),
        (
            ["--processes", "2", "--process", "1", "--coordinator", "a"],
            "--coordinator 'a' is not of the form HOST:PORT",
        ),
        (["--processes", "2", "--wait", "0"], "--wait and --heartbeat must be above 0"),
    ],
)
def test_wrong_arguments_are_refused_with_what_was_found(monkeypatch, capsys, words, message):
    monkeypatch.setattr(sys, "argv", ["launch", *words, PROGRAM])
    with pytest.raises(SystemExit) as exit_:
        launch.main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_script_that_is_not_there_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["launch", "--processes", "2", str(tmp_path / "no.py")])
    with pytest.raises(SystemExit):
        launch.main()
    assert capsys.readouterr().err == f"error: there is no script {tmp_path / 'no.py'}.\n"


def test_a_process_that_fails_alone_is_shown_and_stops_the_others(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "if os.environ['GSU_JAX_PROCESS'] == '0': time.sleep(60)\n"
        "sys.exit('its own disk is full')\n"
    )
    status, printed, said = run("--processes", "3", str(script), seconds=40)
    assert (status, printed) == (1, "")
    assert said.startswith("its own disk is full\nprocess ")
    assert "failed (exit code 1), which stopped the others" in said
