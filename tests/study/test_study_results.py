"""What a finished study leaves behind."""

import math

import pytest
from tiny_study import read

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


def test_results_record_config_environment_and_reference(finished):
    results = read(finished)
    assert results["schema"] == 1
    assert results["experiment"] == "tiny"
    config = results["config"]
    assert config["forget"] == "1"
    assert config["model"] == config["model"] | {"type": "MLPVAEConfig", "image_shape": [8, 8, 1]}
    assert config["judge"] == config["judge"] | {"type": "AllCNNConfig", "classes": 10}
    assert config["data"] == config["data"] | {"forget": 146, "retain": 1292}
    assert isinstance(results["environment"]["jax"], str)
    assert isinstance(results["environment"]["devices"], list)
    assert "git" in results["environment"]
    assert results["reference"]["samples"] == 200
    assert results["reference"]["feature_extractor"] == "six pixels"
    assert 0.2 <= results["reference"]["judge_accuracy"] <= 1


def test_results_name_the_role_of_each_method(finished):
    assert read(finished)["roles"] == {
        "before": "baseline",
        "retrain": "yardstick",
        "gradient_ascent": "method",
        "diverging": "method",
    }


def test_every_method_has_a_row_for_each_seed(finished):
    rows = read(finished)["rows"]
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, seed)
        for method in ("before", "retrain", "gradient_ascent", "diverging")
        for seed in (0, 1)
    ]
    for row in rows:
        times = (row["seconds"], row["compile_seconds"])
        assert all(isinstance(time, float) and time >= 0 for time in times)
        assert row["diverged"] == (row["method"] == "diverging")
        assert all(row["diverged"] or math.isfinite(row[metric]) for metric in METRICS)


def test_rows_count_the_steps_of_their_training(finished):
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


def test_diverged_method_keeps_rows_with_null_metrics(finished):
    rows = [row for row in read(finished)["rows"] if row["method"] == "diverging"]
    assert [row["diverged"] for row in rows] == [True, True]
    assert all(row[metric] is None for row in rows for metric in METRICS)
    assert "diverging" in (finished / "report.html").read_text()


def test_every_model_has_a_picture_and_every_row_a_log_line(finished, events):
    rows = read(finished)["rows"]
    pictures = {path.name for path in (finished / "samples").iterdir()}
    assert pictures == {f"{row['method']}-{row['seed']}.png" for row in rows}
    logged = events(finished, "row")
    assert [event["method"] for event in logged] == [row["method"] for row in rows]
    assert len(events(finished, "epoch")) == 9
