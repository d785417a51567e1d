"""A request that is killed at any moment: nothing is lost, nothing is half published."""

import random
import signal
import subprocess
import sys
import time

import pytest
import tiny_study
from desk_program import cut_at, steps
from removal_desk import check_desk

END = ["received", "identified", "planned", "ran", "verified", "released", "purged", "closed"]


# A coroutine of orbax that is cut is never awaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["plan", "run", "release", "close"])
def test_step_that_is_cut_at_any_moment_is_repeated(desks, tmp_path, name):
    for moment in range(1, 100):
        desk = desks[name].copy(tmp_path / str(moment))
        if not cut_at(moment, steps(desk.folder)[name]):
            break
        if name != "plan":  # before it there is no ledger
            check_desk(desk)
        steps(desk.folder)[name]()
        check_desk(desk)
        expected = END[: {"plan": 3, "run": 4, "release": 6, "close": 8}[name]]
        assert sorted(desk.types, key=END.index) == expected
        assert desk.types[-1] == expected[-1]
    assert moment > 3
    if name == "close":
        assert desk.case().last("purged").predicate["items"] == [
            "pictures", "list of the images", "models and judge of the verification",
        ]  # fmt: skip


def process(folder, moment, *names):
    program = str(tiny_study.ROOT / "tests" / "desk_program.py")
    path = f"{tiny_study.ROOT}:{tiny_study.ROOT / 'tests'}"
    return subprocess.Popen(
        [sys.executable, program, str(folder), str(moment), *names],
        cwd=folder,
        env=tiny_study.ENVIRONMENT | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(("name", "moment"), [("run", 3), ("close", 4)])
def test_killed_process_is_followed_by_another(desks, tmp_path, name, moment):
    desk = desks[name].copy(tmp_path / "desk")
    killed = process(desk.folder, moment, name)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    check_desk(desk)
    steps(desk.folder)[name]()
    check_desk(desk)
    assert desk.types[-1] == {"run": "ran", "close": "closed"}[name]


@pytest.mark.slow
def test_fifty_kills_at_random_moments_lose_nothing(desks, tmp_path):
    draw, rounds, kills = random.Random(0), 0, 0
    names = ("plan", "run", "verify", "release", "close")
    while kills < 50:
        desk, seconds, stage = desks["plan"].copy(tmp_path / str(rounds)), 20.0, 0
        acknowledged: list[str] = []
        while stage < len(names):
            started = time.monotonic()
            child = process(desk.folder, 0, names[stage])
            try:
                child.communicate(timeout=draw.uniform(0.3, 1.1) * seconds if kills < 50 else None)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
            kills += child.returncode == -signal.SIGKILL
            if (desk.home / "ledger.sqlite").exists():
                assert desk.is_whole
                assert desk.types[: len(acknowledged)] == acknowledged
                acknowledged = desk.types
            if "planned" in acknowledged:
                check_desk(desk)
            if child.returncode == 0:
                seconds, stage = time.monotonic() - started, stage + 1
            else:
                assert child.returncode == -signal.SIGKILL
        assert [name for name in END if name in acknowledged] == END
        rounds += 1
    assert kills >= 50
