"""Metrics and loggers of the user's own."""

import jax
import pytest
from tiny_study import read, run_tiny

from gsu_jax.study import _judge, _study

pytestmark = pytest.mark.usefixtures("plain_report")


def brightness(model, params, key):
    return model.sample(params, key, 8).mean()


def one_seed(folder, finished, **options):
    options = {"methods": ("before", "gradient_ascent"), "models_from": finished} | options
    return run_tiny(folder, seeds=1, **options)


class Recorder:
    def __init__(self):
        self.steps, self.rows = [], []

    def log_step(self, method, seed, step, metrics):
        self.steps.append((method, seed, step, metrics))

    def log_row(self, row):
        self.rows.append(row)


class Broken(Recorder):
    def log_row(self, row):
        raise ConnectionError("no network")


def test_metric_is_a_number_of_every_row_and_of_the_summary(finished, tmp_path):
    results = one_seed(tmp_path, finished, metrics={"brightness": brightness})
    values = {row["method"]: row["brightness"] for row in results["rows"]}
    assert values.keys() == {"before", "gradient_ascent"}
    assert all(0 < value < 1 for value in values.values())
    means = {e["method"]: e["mean"] for e in results["summary"] if e["metric"] == "brightness"}
    assert means == values
    assert read(tmp_path)["metrics"] == ["brightness"]


def test_metric_gets_the_model_and_another_key_for_each_seed(copy):
    keys = []

    def metric(model, params, key):
        assert model.sample(params, key, 1).shape == (1, 8, 8, 1)
        keys.append(tuple(jax.random.key_data(key).tolist()))
        return 0

    run_tiny(copy, metrics={"keys": metric})
    assert len(keys) == 8
    assert len(set(keys)) == 2


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_metric_without_a_finite_value_is_null(copy, value):
    rows = run_tiny(copy, metrics={"odd": lambda *_: value})["rows"]
    assert {row["odd"] for row in rows} == {None}
    assert {row["odd"] for row in read(copy)["rows"]} == {None}


def test_finished_rows_are_measured_for_a_new_metric_alone(copy, monkeypatch):
    before = read(copy)["rows"]
    monkeypatch.setattr(_judge, "evaluate", None)
    monkeypatch.setattr(_study, "unlearn", None)
    monkeypatch.setattr(_study, "train_judge", None)
    run_tiny(copy, metrics={"brightness": brightness})
    rows = read(copy)["rows"]
    assert [{k: v for k, v in row.items() if k != "brightness"} for row in rows] == before
    run_tiny(copy, metrics={"brightness": brightness, "one": lambda *_: 1})
    assert read(copy)["rows"] == [row | {"one": 1} for row in rows]
    assert read(copy)["metrics"] == ["brightness", "one"]


def test_metrics_of_an_earlier_run_stay_and_are_not_measured_again(copy, no_work, monkeypatch):
    monkeypatch.setattr(_study, "write_report", lambda path, *_, **__: path.touch())
    run_tiny(copy, metrics={"one": lambda *_: 1})
    results = (copy / "results.json").read_bytes()
    run_tiny(copy)
    run_tiny(copy, metrics={"one": lambda *_: 1 / 0})
    assert (copy / "results.json").read_bytes() == results


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"fratio": brightness}, r"metrics .*'fratio'"),
        ({"seconds": brightness}, r"metrics .*'seconds'"),
        ({"mine": 3}, r"metrics\['mine'\] .*function.* int"),
        ({3: brightness}, r"metrics .* 3"),
        ([brightness], r"metrics .*list"),
    ],
)
def test_bad_metrics_are_refused_before_anything_is_written(tmp_path, metrics, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run_tiny(tmp_path / "out", metrics=metrics)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "got"),
    [([1, 2], r"list of shape \(2,\)"), ([[1], [2, 3]], "list"), ("0.5", "str"), ({}, "dict")],
)
def test_metric_that_is_no_number_is_refused(copy, value, got):
    with pytest.raises(TypeError, match=rf"metrics\['many'\] must return one number, got a {got}"):
        run_tiny(copy, metrics={"many": lambda model, params, key: value})


def test_metric_that_fails_is_named_and_the_study_resumes(copy):
    with pytest.raises(RuntimeError, match=r"metrics\['mine'\] failed.*ZeroDivisionError") as error:
        run_tiny(copy, metrics={"mine": lambda *_: 1 / 0})
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    assert {row["mine"] for row in run_tiny(copy, metrics={"mine": lambda *_: 1})["rows"]} == {1}


def test_logger_gets_every_step_and_the_row(finished, tmp_path):
    recorder = Recorder()
    results = one_seed(tmp_path, finished, loggers=[recorder])
    assert recorder.rows == results["rows"]
    assert [step[:3] for step in recorder.steps] == [
        ("gradient_ascent", 0, 1),
        ("gradient_ascent", 0, 2),
    ]
    assert all(isinstance(step[3]["forget_loss"], float) for step in recorder.steps)
    one_seed(tmp_path, finished, loggers=[recorder])
    assert len(recorder.rows) == 2


def test_failing_logger_loses_no_row_and_stops_no_other_logger(finished, tmp_path, events, caplog):
    recorder = Recorder()
    results = one_seed(tmp_path, finished, loggers=[Broken(), recorder])
    assert len(read(tmp_path)["rows"]) == 2
    assert recorder.rows == results["rows"]
    failed = events(tmp_path, "logger failed")
    assert [event["logger"] for event in failed] == ["Broken", "Broken"]
    assert "no network" in failed[0]["reason"]
    assert "no network" in caplog.text


def test_object_that_is_no_logger_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"loggers .*log_step and log_row, got a str"):
        run_tiny(tmp_path / "out", loggers=["tensorboard"])
    assert not (tmp_path / "out").exists()
