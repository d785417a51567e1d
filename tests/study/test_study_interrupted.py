"""Studies that are killed, or resumed on other devices."""

import os
import signal
import subprocess
import sys

import pytest
import tiny_study
from tiny_study import read, run_tiny, without_times

from gsu_jax import unlearn
from gsu_jax.runtime import make_mesh
from gsu_jax.study import _checkpointed_runs, _study

MOMENTS = (
    ("judge-in-training/manifest", 2),
    ("before-in-training/manifest", 2),
    ("before-1/manifest", 1),
    ("results.json", 3),
    ("diverging-1.png", 1),
    ("report.html", 1),
)


class Killed(BaseException):
    pass


def assert_same_figures(rows, expected):
    """Asserts equal rows up to rounding, times apart."""
    for row, one in zip(rows, expected, strict=True):
        assert (row["method"], row["seed"]) == (one["method"], one["seed"])
        figures = {name: value for name, value in one.items() if isinstance(value, float)}
        for name in figures.keys() - {*tiny_study.TIMES}:
            assert row[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name


@pytest.mark.long
def test_study_stopped_at_any_file_ends_like_one_that_never_was(
    finished, tmp_path, monkeypatch, plain_report
):
    monkeypatch.setattr(_checkpointed_runs, "SAVE_EVERY", 0.0)
    for text, times in MOMENTS[:-1]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", os.replace)  # put back at the end
            tiny_study.stop_before(text, times, Killed)
            with pytest.raises(Killed):
                run_tiny(tmp_path)
    run_tiny(tmp_path)
    assert without_times(read(tmp_path)) == without_times(read(finished))
    pictures, expected = ({p.name for p in (f / "samples").iterdir()} for f in (tmp_path, finished))
    assert pictures == expected
    assert list((tmp_path / "checkpoints").glob("*in-training")) == []


@pytest.mark.slow
def test_study_killed_again_and_again_ends_like_one_that_never_was(
    finished, tmp_path, cache, pytestconfig
):
    def run(*moment):
        command = [sys.executable, tiny_study.__file__, str(tmp_path), str(cache), *moment]
        done = subprocess.run(command, capture_output=True, text=True, env=tiny_study.ENVIRONMENT)
        return done.returncode, done.stdout + done.stderr

    for text, times in MOMENTS:
        assert run(text, str(times)) == (-signal.SIGKILL, "")
    assert not (tmp_path / "report.html").exists()
    assert run() == (0, "")
    if pytestconfig.getoption("--optimize"):  # as CI runs it
        assert without_times(read(tmp_path)) == without_times(read(finished))
    # Without LLVM's optimization another process rounds differently, by about 1e-8.
    assert_same_figures(read(tmp_path)["rows"], read(finished)["rows"])
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("begun", "resumed"), [(None, 8), pytest.param(8, None, marks=pytest.mark.slow)]
)
def test_resuming_on_another_mesh_gives_the_same_rows(
    finished, tmp_path, monkeypatch, plain_report, begun, resumed
):
    meshes = [number and make_mesh(f"data={number}") for number in (begun, resumed)]
    used = []

    def train_epoch(*arguments, train_epoch=_checkpointed_runs.train_epoch):
        if len(used) == 5:  # the judge, and two epochs of three of "before"
            used.append("stopped")
            raise KeyboardInterrupt
        used.append(arguments[-1])
        return train_epoch(*arguments)

    def recorded(*arguments, mesh, **options):
        used.append(mesh)
        return unlearn(*arguments, mesh=mesh, **options)

    monkeypatch.setattr(_checkpointed_runs, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(_checkpointed_runs, "train_epoch", train_epoch)
    monkeypatch.setattr(_study, "unlearn", recorded)
    methods = ("before", "gradient_ascent")
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path, methods=methods, mesh=meshes[0])
    run_tiny(tmp_path, methods=methods, mesh=meshes[1])
    assert used == [meshes[0]] * 5 + ["stopped"] + [meshes[1]] * 3
    results, expected = read(tmp_path), read(finished)
    assert results["environment"]["mesh"] == (resumed and {"data": resumed})
    assert_same_figures(results["rows"], expected["rows"][:2] + expected["rows"][4:6])
