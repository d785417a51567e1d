"""What a stage says where nobody watches a terminal."""

import threading
import time

import jax.numpy as jnp
import pytest

from gsu_jax.runtime import Compiled, announce, stage
from gsu_jax.runtime import _progress as progress


@pytest.fixture(autouse=True)
def asked_for(monkeypatch):
    """Lines, ten times as often as a user sees them."""
    monkeypatch.delenv(progress.QUIET)
    for name, seconds in (("EVERY", 0.2), ("LONG", 0.1), ("TICK", 0.02)):
        monkeypatch.setattr(progress, name, seconds)


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_stage_says_when_it_starts_and_when_it_ends(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 60.0)
    with stage("train judge", 3) as advance:
        assert lines(capsys) == ["train judge: 0 of 3"]
        advance(3, "seed 0")
    assert lines(capsys) == ["train judge: done, 3 of 3, 0 s"]


def test_long_unit_is_not_silent(capsys):
    with stage("train", 4) as advance:
        time.sleep(0.15)
        advance(1, "loss 0.5")
        time.sleep(0.5)
    said = lines(capsys)[1:-1]
    assert len(said) >= 2
    for line in said[1:]:
        assert line.startswith("train: 1 of 4, ")
        assert line.endswith(" left, loss 0.5")


def test_time_left_does_not_count_what_an_earlier_run_did(capsys):
    lines_of = progress._Lines("train", 100, 0.0)
    with lines_of:
        lines_of.advance(90)  # a resumed run begins with these
        lines_of._basis = (100.0, 90)
        lines_of._done = 95
        assert "95 of 100" in lines_of._state(110.0)
        assert "10 s left" in lines_of._state(110.0)


def test_stage_that_fails_says_where_it_stopped(capsys):
    def fail(advance):
        advance(2)
        raise RuntimeError

    with pytest.raises(RuntimeError), stage("train", 4) as advance:
        fail(advance)
    assert lines(capsys)[-1] == "train: stopped, 2 of 4, 0 s"


def test_no_thread_outlives_its_stage():
    before = threading.active_count()
    with stage("train", 1):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_compilation_that_takes_long_has_a_line(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 60.0)

    def slow_to_trace(x):
        time.sleep(0.3)
        return x + 1

    with stage("unlearn", 1) as advance:
        advance(0, "redirect_surgery, seed 0")
        assert Compiled(slow_to_trace).compile(jnp.float32(0)) > 0.3
    _, compiling, end = lines(capsys)
    assert compiling.startswith("unlearn: 0 of 1, ")
    assert compiling.endswith("redirect_surgery, seed 0, compiling")
    assert end.startswith("unlearn: done")


def test_long_run_speaks_between_its_stages_alone(capsys):
    with progress.long_run("run"):
        time.sleep(0.5)
        before = lines(capsys)
        with stage("train", 1) as advance:
            time.sleep(0.5)
            advance(1)
        inside = lines(capsys)
        time.sleep(0.5)
    after = lines(capsys)
    assert len(before) >= 2
    assert len(after) >= 2
    assert all(line.startswith("run: ") for line in (*before, *after))
    assert all(line.startswith("train: ") for line in inside)


def test_announcement_ends_with_its_run(capsys):
    with progress.long_run("run"):
        announce("progress: there")
    with stage("train", 1):
        pass
    assert lines(capsys)[0] == "train: 0 of 1"


def test_short_run_says_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 60.0)
    with progress.long_run("run"):
        time.sleep(0.1)
    assert lines(capsys) == []


def test_patient_stage_that_ends_soon_says_nothing(capsys):
    announce("progress: there")
    with stage("read images", 1, patience=5.0) as advance:
        advance(1)
    assert lines(capsys) == []
    with stage("train", 1):
        pass
    assert lines(capsys)[0] == "progress: there"


def test_other_processes_and_a_quiet_environment_say_nothing(capsys, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(progress, "is_first", lambda: False)
        with stage("train", 1) as advance:
            advance(1)
    monkeypatch.setenv(progress.QUIET, "off")
    with stage("train", 1) as advance:
        advance(1)
    assert lines(capsys) == []


def test_terminal_has_a_bar_that_says_when_it_compiles(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with stage("train", 2) as advance:
        advance(1, "seed 0")
        with progress.activity("compiling"):
            time.sleep(0.3)
    said = capsys.readouterr().err
    assert "━" in said
    assert "seed 0, compiling" in said


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.2, "8 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_short(seconds, text):
    assert progress._duration(seconds) == text
