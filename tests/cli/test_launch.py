"""The launcher: its options, and what it says when a script ends badly."""

import os
import signal
import sys

import pytest

from gsu_jax.cli import _launch as launch


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the launcher on a script with this content: exit status and standard error."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*words, script="pass"):
        path = tmp_path / "script.py"
        path.write_text(
            "import json, os, signal, sys, time\n"
            f"number = json.loads(os.environ[{launch.LAUNCHED!r}])['process_id']\n{script}\n"
        )
        monkeypatch.setattr(sys, "argv", ["launch", *words, str(path)])
        try:
            status = launch.main()
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--processes 0", "--processes must be at least 1, got 0"),
        ("--processes two", "'two'"),
        ("--processes 2 --wait 0", "--wait must be at least 1, got 0"),
        ("--processes 2 --heartbeat 0", "--heartbeat must be at least 1, got 0"),
        ("--processes 2 --process 0", "--process and --coordinator"),
        ("--processes 2 --coordinator a:1", "--process and --coordinator"),
        ("--processes 2 --process 2 --coordinator a:1", "--process must be 0 to 1, got 2"),
        ("--processes 2 --process 1 --coordinator a", "--coordinator must be HOST:PORT, got 'a'"),
        ("--processes 2 nothing.py", "nothing.py"),
        ("--proceses 2 digits", "unknown option --proceses. Did you mean '--processes'"),
        ("digits --mesh data=2", "--processes"),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(run, words, message):
    status, said = run(*words.split())
    assert status == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_experiment_can_be_named_in_place_of_a_script(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["launch", "--processes", "2", "digits", "--seeds", "1"])
    found = launch._arguments()
    assert found.script == ["-m", "gsu_jax", "digits"]
    assert found.arguments == ["--seeds", "1"]


def test_success_of_all_is_status_0_and_silent(run):
    assert run("--processes", "2") == (0, "")


def test_mistake_of_all_is_shown_once(run):
    assert run("--processes", "2", script="sys.exit('a mistake')") == (1, "a mistake\n")


@pytest.mark.parametrize(
    ("ending", "lines"),
    [
        ("sys.exit('its disk is full')", ["its disk is full", "process 1 failed, which stopped"]),
        ("os.kill(os.getpid(), 9)", ["process 1 was lost (killed by signal 9); the same command"]),
    ],
)
def test_process_that_ends_alone_is_named_and_stops_the_others(
    run, tmp_path, monkeypatch, ending, lines
):
    monkeypatch.setattr(launch, "TOGETHER", 0.5)
    pid = tmp_path / "pid"
    script = f"""
if number == 0:
    open({str(pid)!r}, 'w').write(str(os.getpid()))
    time.sleep(600)
while not os.path.exists({str(pid)!r}): time.sleep(0.02)
{ending}"""
    status, said = run("--processes", "2", script=script)
    assert status == 1
    for line, start in zip(said.splitlines(), lines, strict=True):
        assert line.startswith(start)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_interruption_stops_the_processes_and_says_how_to_resume(run, tmp_path, monkeypatch):
    pid = tmp_path / "pid"

    def interrupt(seconds):
        while not pid.exists() or not pid.read_text():
            pass
        raise KeyboardInterrupt

    # Not by a signal: a run of the tests in the background ignores SIGINT.
    monkeypatch.setattr(launch.time, "sleep", interrupt)
    script = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    status, said = run("--processes", "1", script=script)
    assert status == 130
    assert "the same command again resumes" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
