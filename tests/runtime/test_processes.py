"""Several processes on one machine: what they compute together, and what a loss does to them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import process_program
import pytest
from tiny_study import ENVIRONMENT, ROOT, read

from gsu_jax import networks
from gsu_jax.runtime import _mesh as mesh
from gsu_jax.runtime import check_processes, make_mesh
from gsu_jax.runtime._processes import _in_cluster
from gsu_jax.study import _checkpointed_runs as trained

PROGRAM = str(Path(process_program.__file__))
ONE_DEVICE = ENVIRONMENT | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
TWO = ("--processes", "2")


@contextmanager
def launched(*words):
    """A launcher at work; what it leaves behind is killed."""
    command = [sys.executable, "-m", "gsu_jax", "launch", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **streams, env=ONE_DEVICE, cwd=ROOT) as run:
        try:
            yield run
        finally:
            run.terminate()  # it stops its children


def run(*words):
    """Exit status, standard output and standard error of a launcher that ends by itself."""
    with launched(*words) as process:
        printed, said = process.communicate(timeout=120)
    return process.returncode, printed, said


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def coordinator():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


# A study


def assert_same_figures(folder, expected):
    got, wanted = (read(f)["rows"] for f in (folder, expected))
    assert [list(row) for row in got] == [list(row) for row in wanted]
    for row, other in zip(got, wanted, strict=True):
        for name in row.keys() - {"seconds", "compile_seconds"}:
            if isinstance(row[name], float):
                # A sample on a border between two classes may change its side.
                np.testing.assert_allclose(row[name], other[name], rtol=2e-3, atol=0.011)
            else:
                assert row[name] == other[name]


@pytest.mark.slow
def test_study_that_lost_a_process_resumes_alike_on_one_and_on_two(tmp_path, monkeypatch):
    log, out, cache = tmp_path / "log.jsonl", tmp_path, tmp_path / "compiled"
    words = [*TWO, PROGRAM, "study", str(out), str(cache), "data=2"]
    with launched(*words, "0.3") as process:
        wait_for(lambda: log.exists() and '"name": "before"' in log.read_text())
        os.kill(int((out / "pid-1").read_text()), signal.SIGKILL)
        killed_at = time.monotonic()
        printed, said = process.communicate(timeout=60)
    assert time.monotonic() - killed_at < 30
    assert (process.returncode, printed) == (1, "")
    (line,) = [line for line in said.splitlines() if "lost" in line]
    assert line.startswith("process 1 was lost (killed by signal 9); ")
    assert read(out)["rows"] == []
    both = shutil.copytree(out, tmp_path / "both")

    for module, name in ((networks, "classifier"), (trained, "SAVE_EVERY")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end
    process_program.run_study(out, cache, None)
    assert len(read(out)["rows"]) == 2

    words[4] = str(both)
    assert run(*words) == (0, "finished\n", "")
    assert_same_figures(both, out)
    assert read(both)["environment"]["processes"] == 2
    assert (both / "report.html").exists()
    assert len(list((both / "samples").glob("*.png"))) == 2


def test_processes_hear_the_first_and_end_together_on_a_mistake(tmp_path):
    words = [*TWO, PROGRAM, "facts", str(tmp_path)]
    assert run(*words) == (2, "", "error: all have spoken\n")
    first, second = (json.loads((tmp_path / f"facts-{i}.json").read_text()) for i in (0, 1))
    assert first == second
    assert "No such file" in first.pop("error")
    assert first == {
        "gathered": [{"own": 0}, {"own": 1}],
        "broadcast": 10,
        "nested": 0,
        "bits": np.array([-0.0, np.nan, 0], np.float32).tobytes().hex(),
        "kinds": [True, True],
        "to_host": [0, 1, 2, 3],
    }


def test_mesh_that_leaves_a_process_out_is_refused(monkeypatch):
    monkeypatch.setattr(mesh, "process_count", lambda: 2)
    for given in (make_mesh("data=8"), None):
        with pytest.raises(ValueError, match="--mesh data=8"):
            check_processes(given)


# One launcher for each process, as on two machines


@pytest.mark.long
@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_launcher_names_the_process_that_another_machine_lost(tmp_path, lost):
    place = [*TWO, "--coordinator", coordinator(), "--heartbeat", "4"]
    program = [PROGRAM, "sums", str(tmp_path)]
    with (
        launched(*place, "--process", str(lost), *program) as gone,
        launched(*place, "--process", str(1 - lost), *program) as left,
    ):
        wait_for(lambda: len(list(tmp_path.glob("summed-*"))) == 2)
        os.kill(int((tmp_path / f"pid-{lost}").read_text()), signal.SIGKILL)
        assert "(killed by signal 9)" in gone.communicate(timeout=30)[1]
        printed, said = left.communicate(timeout=30)
    assert (left.returncode, printed) == (1, "")
    assert said.startswith(f"process {lost} was lost (")
    assert said.count("\n") == 1


@pytest.mark.long
def test_launcher_says_that_a_process_did_not_come(tmp_path):
    place = [*TWO, "--process", "1", "--coordinator", coordinator(), "--wait", "1"]
    status, printed, said = run(*place, PROGRAM, "sums", str(tmp_path))
    assert (status, printed) == (1, "")
    assert said.startswith("not all processes came in time")
    assert said.count("\n") == 1


# Who starts them


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False),  # no step: one shell of the job
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # a pod on its own
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, True),
    ],
)
def test_cluster_is_joined_if_it_started_several_processes(monkeypatch, environment, several):
    monkeypatch.setattr(os, "environ", environment)
    assert _in_cluster() == several
