"""A study of seconds: what it leaves behind, what it goes on from, what it refuses."""

import json
import math
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_study
from tiny_study import (
    DIVERGING,
    compiled_programs_kept_in,
    read,
    run_tiny,
    tiny_config,
    without_times,
)

from gsu_jax import GradientAscent, unlearn
from gsu_jax.models import AllCNNConfig
from gsu_jax.networks import generator
from gsu_jax.runtime import make_mesh
from gsu_jax.study import Recipe
from gsu_jax.study import _checkpointed_runs as trained
from gsu_jax.study import _study as study

METRICS = (
    "fratio",
    "fratio_upper95",
    "fratio_probability",
    "inception_score",
    "fid",
    "fid_retain",
    "nelbo_retain",
    "nelbo_forget",
    "coverage",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A finished study; tests that change a study work on a copy."""
    folder = tmp_path_factory.mktemp("study") / "out"
    with compiled_programs_kept_in(cache):
        run_tiny(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def no_work(monkeypatch):
    """Anything that trains, unlearns or evaluates fails."""

    def refuse(*arguments, **options):
        raise AssertionError("this was done already")

    for module, name in (
        (trained, "train_epoch"),
        (study, "unlearn"),
        (study, "evaluate"),
        (study, "write_report"),
    ):
        monkeypatch.setattr(module, name, refuse)


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def forget_rows(folder):
    """As if a kill had come before the first row."""
    results = read(folder)
    (folder / "results.json").write_text(json.dumps(results | {"rows": []}))


def flip_a_bit(checkpoint):
    data = max(checkpoint.rglob("data-*/**/*"), key=lambda p: p.is_file() and p.stat().st_size)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)


# What it leaves behind


def test_results_have_every_field_of_the_schema(finished):
    results = read(finished)
    assert results["schema"] == 1
    assert results["experiment"] == "tiny"
    assert results["config"]["forget"] == "1"
    assert results["config"]["model"]["type"] == "MLPVAEConfig"
    assert results["config"]["model"]["image_shape"] == [8, 8, 1]
    assert results["config"]["judge"]["type"] == "AllCNNConfig"
    assert results["config"]["judge"]["classes"] == 10
    assert results["config"]["data"]["forget"] == 146
    assert results["config"]["data"]["retain"] == 1292
    assert isinstance(results["environment"]["jax"], str)
    assert isinstance(results["environment"]["devices"], list)
    assert {"git"} <= results["environment"].keys()
    assert results["reference"]["samples"] == 200
    assert isinstance(results["reference"]["feature_extractor"], str)
    assert 0.2 <= results["reference"]["judge_accuracy"] <= 1
    assert [(row["method"], row["seed"]) for row in results["rows"]] == [
        (method, seed)
        for method in ("before", "retrain", "gradient_ascent", "diverging")
        for seed in (0, 1)
    ]
    for row in results["rows"]:
        times = (row["seconds"], row["compile_seconds"])
        assert all(isinstance(time, float) and time >= 0 for time in times)
        assert isinstance(row["steps"], int)
        assert isinstance(row["diverged"], bool)
        if not row["diverged"]:
            assert all(math.isfinite(row[metric]) for metric in METRICS)


def test_rows_count_the_steps_of_what_made_them(finished):
    steps = {row["method"]: row["steps"] for row in read(finished)["rows"]}
    # 1,438 images in batches of 128, three epochs; 146 to forget in one.
    expected = {"before": 33, "retrain": 30, "gradient_ascent": 2, "diverging": 2}
    assert steps == expected


def test_summary_is_mean_and_deviation_over_seeds(finished):
    results = read(finished)
    for entry in results["summary"]:
        assert entry.keys() == {"method", "metric", "mean", "std", "low", "high", "n"}
    found = {(entry["method"], entry["metric"]): entry for entry in results["summary"]}
    fids = [row["fid"] for row in results["rows"] if row["method"] == "retrain"]
    entry = found["retrain", "fid"]
    assert entry["n"] == 2
    assert entry["mean"] == pytest.approx(sum(fids) / 2)
    assert entry["std"] == pytest.approx(abs(fids[0] - fids[1]) / math.sqrt(2))


def test_diverged_method_keeps_its_rows_with_null_metrics(finished):
    rows = [row for row in read(finished)["rows"] if row["method"] == "diverging"]
    assert [row["diverged"] for row in rows] == [True, True]
    assert all(row[metric] is None for row in rows for metric in METRICS)
    assert "diverging" in (finished / "report.html").read_text()


def test_every_model_has_a_picture_and_every_log_line_is_json(finished):
    pictures = {path.name for path in (finished / "samples").iterdir()}
    rows = read(finished)["rows"]
    assert pictures == {f"{row['method']}-{row['seed']}.png" for row in rows}
    events = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [event["method"] for event in events if event["event"] == "row"] == [
        row["method"] for row in rows
    ]
    assert sum(event["event"] == "epoch" for event in events) == 9


# What it goes on from


def test_finished_study_started_again_changes_nothing(copy, no_work):
    before = files(copy)
    run_tiny(copy)
    assert files(copy) == before


def test_fewer_methods_or_seeds_leave_a_finished_study_as_it_is(copy, no_work):
    before = files(copy)
    results = run_tiny(copy, methods=("before",), seeds=1)
    assert len(results["rows"]) == 8
    assert files(copy) == before


def test_more_methods_extend_a_study_and_keep_its_rows(copy):
    before = read(copy)["rows"]
    report = (copy / "report.html").read_text()
    # The methods of the first run are not named: they come back from its config.
    run_tiny(copy, methods=(GradientAscent(label="faster", learning_rate=1e-3),))
    rows = read(copy)["rows"]
    assert rows[:8] == before
    assert [(row["method"], row["seed"]) for row in rows[8:]] == [("faster", 0), ("faster", 1)]
    assert "faster" in (copy / "report.html").read_text()
    assert "faster" not in report


def test_more_seeds_extend_a_study_and_keep_its_rows(copy):
    before = read(copy)["rows"]
    run_tiny(copy, methods=("before",), seeds=3)
    rows = read(copy)["rows"]
    assert [row for row in rows if row["seed"] < 2] == before
    assert [row["method"] for row in rows if row["seed"] == 2] == [
        "before",
        "retrain",
        "gradient_ascent",
        "diverging",
    ]
    assert read(copy)["config"]["seeds"] == 3


def test_larger_ensemble_extends_retraining_alone_and_resumes_where_it_was_stopped(
    copy, monkeypatch
):
    before = read(copy)["rows"]
    train_epoch = trained.train_epoch
    monkeypatch.setattr(trained, "SAVE_EVERY", 0.0)
    for epochs_until_stopped in (2, None):
        done = []

        def stopping(*arguments, done=done, stop=epochs_until_stopped):
            if len(done) == stop:
                raise KeyboardInterrupt
            done.append(1)
            return train_epoch(*arguments)

        monkeypatch.setattr(trained, "train_epoch", stopping)
        if epochs_until_stopped:
            with pytest.raises(KeyboardInterrupt):
                run_tiny(copy, ensemble=3)
        else:
            # The larger ensemble comes back from the config of the stopped run.
            run_tiny(copy)
            assert len(done) == 1
    results = read(copy)
    assert [row for row in results["rows"] if row["seed"] < 2] == before
    assert [row["method"] for row in results["rows"] if row["seed"] == 2] == ["retrain"]
    assert (results["config"]["seeds"], results["config"]["ensemble"]) == (2, 3)


def test_report_that_a_kill_left_behind_the_results_is_made_again(copy):
    report = copy / "report.html"
    report.write_text("of an earlier state")
    (copy / "results.json").touch()
    run_tiny(copy)
    assert "gradient_ascent" in report.read_text()


def test_report_is_made_again_without_pictures_and_unlearned_models(copy):
    results = (copy / "results.json").read_bytes()
    shutil.rmtree(copy / "samples")
    shutil.rmtree(copy / "checkpoints" / "gradient_ascent-1")
    (copy / "report.html").unlink()
    run_tiny(copy)
    assert (copy / "report.html").exists()
    assert (copy / "results.json").read_bytes() == results


@pytest.mark.parametrize("part", ["judge-0", "before-1", "gradient_ascent-0"])
def test_flipped_bit_is_refused_and_deleting_that_folder_repairs_the_study(copy, part):
    before = without_times(read(copy))
    forget_rows(copy)
    folder = copy / "checkpoints" / part
    flip_a_bit(folder)
    with pytest.raises(ValueError, match=rf"{part} is damaged.* Delete this folder"):
        run_tiny(copy)
    shutil.rmtree(folder)
    run_tiny(copy)
    assert without_times(read(copy)) == before


def test_lost_results_are_made_again_from_the_checkpoints(copy, monkeypatch):
    before = read(copy)
    (copy / "results.json").unlink()
    monkeypatch.setattr(trained, "train_epoch", None)
    monkeypatch.setattr(study, "unlearn", None)
    run_tiny(copy)
    assert read(copy)["rows"] == before["rows"]


# On several devices


@pytest.mark.parametrize(("begun", "goes_on"), [(8, 8), (8, None), (None, 8)])
def test_study_gives_the_figures_of_one_device_on_whatever_devices_it_is_begun_and_goes_on(
    finished, tmp_path, cache, monkeypatch, begun, goes_on
):
    meshes = [number and make_mesh(f"data={number}") for number in (begun, goes_on)]
    used = []

    def train_epoch(*arguments, train_epoch=trained.train_epoch):
        if len(used) == 5:  # the judge and two epochs of three of "before" are trained
            used.append(None)
            raise KeyboardInterrupt
        used.append(arguments[-1])
        return train_epoch(*arguments)

    def recorded(*arguments, mesh, **options):
        used.append(mesh)
        return unlearn(*arguments, mesh=mesh, **options)

    monkeypatch.setattr(trained, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(trained, "train_epoch", train_epoch)
    monkeypatch.setattr(study, "unlearn", recorded)
    methods = ("before", "gradient_ascent")
    with compiled_programs_kept_in(cache):
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path, methods=methods, mesh=meshes[0])
        run_tiny(tmp_path, methods=methods, mesh=meshes[1])
    assert used == [meshes[0]] * 5 + [None] + [meshes[1]] * 3
    results, expected = read(tmp_path), read(finished)
    assert results["environment"]["mesh"] == (goes_on and {"data": goes_on})
    assert results["config"]["pretraining"] == expected["config"]["pretraining"]
    for row, one in zip(results["rows"], expected["rows"][:2] + expected["rows"][4:6], strict=True):
        for name in METRICS:
            assert row[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name


# Models of another study


def events(folder, *names):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] in names]


def test_models_of_a_study_with_the_same_request_are_taken_with_their_times(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(trained, "train_epoch", None)
    run_tiny(tmp_path, methods=("before", "retrain"), models_from=finished, experiment="other")
    assert read(tmp_path)["rows"] == read(finished)["rows"][:4]
    # And from then on the other study is not needed.
    rows = read(tmp_path)["rows"]
    forget_rows(tmp_path)
    run_tiny(tmp_path, methods=("before", "retrain"), experiment="other")
    assert read(tmp_path)["rows"] == rows


def test_another_request_takes_all_models_but_the_retrained_ones(finished, tmp_path):
    run_tiny(tmp_path, methods=("before", "retrain"), models_from=finished, forget="2")
    parts = {event["part"] for event in events(tmp_path, "borrowed")}
    assert parts == {"judge-0", "before-0", "before-1"}
    refused = events(tmp_path, "not borrowed")
    assert [event["part"] for event in refused] == ["retrain-0", "retrain-1"]
    assert all("forget: '1' there, '2' now" in event["reason"] for event in refused)
    assert {event["name"] for event in events(tmp_path, "epoch")} == {"retrain"}


def test_damaged_model_of_another_study_is_trained_anew(copy, finished, tmp_path):
    flip_a_bit(copy / "checkpoints" / "before-1")
    out = tmp_path / "new"
    run_tiny(out, methods=("before",), models_from=copy)
    assert without_times(read(out))["rows"] == without_times(read(finished))["rows"][:2]
    (refused,) = events(out, "not borrowed")
    assert "before-1 is damaged" in refused["reason"]


# What it refuses


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 2}, "epochs: 1 there, 2 now"),
        ({"forget": "2"}, "forget: '1' there, '2' now"),
        ({"experiment": "other"}, "experiment: 'tiny' there, 'other' now"),
        ({"methods": (replace(DIVERGING, learning_rate=1.0),)}, "learning_rate: 1e[+]30 there"),
        ({"methods": (GradientAscent(label="before"),)}, "name: 'before' there, 'gradient_ascent'"),
    ],
)
def test_other_config_is_refused_with_the_difference_and_changes_nothing(
    copy, no_work, changes, difference
):
    before = files(copy)
    with pytest.raises(ValueError, match=difference) as caught:
        run_tiny(copy, **changes)
    assert "give another --out" in str(caught.value)
    assert files(copy) == before


def test_parts_of_another_study_are_not_taken_for_ones_own(copy, no_work):
    (copy / "results.json").unlink()
    with pytest.raises(ValueError, match=r"retrain-0 is of another study:\s+forget: '1' there, '2"):
        run_tiny(copy, forget="2")
    (copy / "results.json").unlink()
    with pytest.raises(ValueError, match=r"judge-0 is of another study:\s+judging.epochs: 3 there"):
        run_tiny(copy, judging=Recipe(epochs=4))


def test_models_of_another_setting_of_a_method_are_not_taken_for_ones_own(copy):
    (copy / "results.json").unlink()
    changed = replace(DIVERGING, learning_rate=1.0)
    with pytest.raises(ValueError, match=r"diverging-0 is of another study:\s+method.learning_rat"):
        run_tiny(copy, methods=(changed,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": 1, "rows": [', "not a whole results.json"),
        ("[]", "no results.json of gsu_jax"),
        ('{"schema": 1, "experiment": "tiny", "rows": []}', "no config of a study"),
        (
            '{"schema": 1, "experiment": "tiny", "config": {"methods": {}, "seeds": 1}, '
            '"rows": [{"method": "before", "seed": 0}]}',
            r"rows\[0\] is of method 'before', seed 0, which its config does not have",
        ),
    ],
)
def test_broken_results_are_refused_with_the_way_out(copy, no_work, content, message):
    (copy / "results.json").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        run_tiny(copy)
    assert "Delete it to have it made again" in str(caught.value)
    assert (copy / "results.json").read_text() == content


def test_method_that_this_release_does_not_know_is_refused(copy):
    results = read(copy)
    results["config"]["methods"]["diverging"]["name"] = "of_the_future"
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=r"rows 'diverging', whose method .*of_the_future"):
        run_tiny(copy, methods=("before",))


def test_judge_below_its_gate_stops_the_study_before_generators_are_trained(tmp_path):
    with pytest.raises(ValueError, match=r"judge reaches \d+\.\d%.* below its gate of 99\.9%"):
        run_tiny(tmp_path / "out", judge_gate=0.999)
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["judge-0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"forget": "11"}, "'11' is no class or attribute of digits"),
        ({"forget": "indices:0,1"}, "call gsu_jax.unlearn"),
        ({"methods": ("surgery",)}, "unknown method 'surgery'; known are before"),
        ({"methods": ()}, "at least one"),
        ({"methods": ("before", "before")}, "each once, found before, before"),
        ({"seeds": 0}, "seeds must be at least 1, found 0"),
        ({"seeds": -1}, "seeds must be at least 1, found -1"),
        ({"epochs": -1}, "epochs must be at least 0, found -1"),
        ({"ensemble": -1}, "ensemble must be at least 0, found -1"),
        ({"models_from": Path(__file__).parent}, "holds no checkpoints"),
        ({"samples": 1}, "samples must be at least 2, found 1"),
    ],
)
def test_arguments_that_cannot_be_run_are_refused_before_anything_is_written(
    tmp_path, arguments, message
):
    with pytest.raises(ValueError, match=message):
        run_tiny(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_configs_of_models_that_are_not_known_are_refused():
    with pytest.raises(TypeError, match=r"model must be one of MLPVAEConfig.*, found AllCNNConfig"):
        tiny_config(model=AllCNNConfig())
    with pytest.raises(TypeError, match=r"judge must be one of AllCNNConfig.*, found tuple"):
        tiny_config(judge=(4, 8))


def test_images_of_another_size_than_the_model_are_refused_with_both_sizes():
    model = generator(tiny_config().model)
    params = model.init(jax.random.key(0))
    images = np.zeros((5, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match=r"\[n, 28, 28, 1\] for this model, found \[\d, 8, 8, 1\]"):
        unlearn(model, params, images, images, method="gradient_ascent", key=jax.random.key(1))


# A kill at any moment


def run_in_another_process(folder, cache, *moment, seconds=None):
    """Its exit status and what it printed; killed after `seconds`."""
    command = [sys.executable, tiny_study.__file__, str(folder), str(cache), *moment]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **streams, env=tiny_study.ENVIRONMENT) as run:
        try:
            printed, _ = run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            run.kill()
            printed, _ = run.communicate()
    return run.returncode, printed


@pytest.mark.slow
def test_study_killed_again_and_again_ends_like_one_that_never_was(finished, tmp_path, cache):
    out = tmp_path / "out"
    for moment in (
        ("judge-in-training/manifest", "2"),
        ("before-in-training/manifest", "2"),
        ("before-1/", "1"),
        ("results.json", "3"),
        ("diverging-1.png", "1"),
        ("report.html", "1"),
    ):
        assert run_in_another_process(out, cache, *moment) == (-signal.SIGKILL, "")
    assert not (out / "report.html").exists()
    assert run_in_another_process(out, cache) == (0, "")
    assert without_times(read(out)) == without_times(read(finished))
    assert (out / "report.html").exists()
    pictures, expected = ({p.name for p in (f / "samples").glob("*.png")} for f in (out, finished))
    assert pictures == expected
    assert list((out / "checkpoints").glob("*in-training")) == []


def test_study_killed_at_a_random_time_ends_like_one_that_never_was(finished, tmp_path, cache):
    out = tmp_path / "out"
    status, printed = run_in_another_process(out, cache, seconds=random.uniform(2, 5))
    assert (status, printed) in ((-signal.SIGKILL, ""), (0, ""))
    assert run_in_another_process(out, cache) == (0, "")
    assert without_times(read(out)) == without_times(read(finished))


def test_two_runs_do_not_work_in_one_folder(copy):
    before = files(copy)
    with (
        study.exclusive(copy),
        pytest.raises(ValueError, match="in use by another run; wait for it or choose another"),
    ):
        run_tiny(copy)
    assert files(copy) == before
