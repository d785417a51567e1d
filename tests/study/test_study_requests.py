"""Studies of several classes, and of listed images."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_study import quick_judge, run_tiny, tiny_config

from gsu_jax.data import load
from gsu_jax.report import markdown_table, terminal_table
from gsu_jax.study import run_study

METHODS = ("before", "retrain", "gradient_ascent")


def test_several_classes_are_forgotten_together(tmp_path):
    """Every sample shows one of all ten classes."""
    everything = ",".join(str(digit) for digit in range(9))
    results = run_tiny(tmp_path, forget=everything, methods=METHODS[:1], seeds=1)
    counts = results["config"]["data"]
    labels = load("digits").train.attributes["label"]
    assert counts["forget"] == np.count_nonzero(labels < 9)
    (row,) = results["rows"]
    assert 0 < row["fratio"] <= 1
    assert row["fratio_probability"] == pytest.approx(0.9, abs=0.1)


@pytest.mark.long
def test_listed_images_are_compared_with_test_images_and_retrained_models(tmp_path):
    results = run_tiny(tmp_path, forget="indices:0,5,17", methods=METHODS, seeds=2)
    assert results["config"]["data"]["forget"] == 3
    for row in results["rows"]:
        assert row["fratio"] is None
        assert np.isfinite([row["nelbo_gap"], row["nelbo_forget"], row["fid"]]).all()
    compared = {(entry["method"], entry["metric"]) for entry in results["comparison"]}
    assert ("gradient_ascent", "nelbo_gap") in compared
    for table in (markdown_table(results), terminal_table(results)):
        assert "listed - like" in table
        assert "fratio" not in table


def test_a_source_without_test_images_is_refused(tmp_path):
    digits = load("digits")
    source = dataclasses.replace(digits, test=digits.test.take([]))
    with quick_judge(), pytest.raises(ValueError, match=r"digits has no test images.*holdout"):
        run_study(tiny_config(), source, tmp_path / "out", methods=METHODS, seeds=1)


@pytest.mark.long
def test_a_list_that_changed_under_its_name_is_another_study(tmp_path):
    """As many images as before, but others: neither the rows nor the retrained models fit."""
    (tmp_path / "list.txt").write_text("0 1 2")
    arguments = {"forget": f"indices:@{tmp_path / 'list.txt'}", "methods": METHODS, "seeds": 1}
    run_tiny(tmp_path / "out", **arguments)
    (tmp_path / "list.txt").write_text("5 6 7")
    with pytest.raises(ValueError, match="listed"):
        run_tiny(tmp_path / "out", **arguments)
    other = run_tiny(tmp_path / "other", models_from=tmp_path / "out", **arguments)
    trained = {row["method"]: row["compile_seconds"] + row["seconds"] for row in other["rows"]}
    assert trained["retrain"] > 0
    log = (tmp_path / "other" / "log.jsonl").read_text()
    assert "retrain" in [json.loads(line).get("name") for line in log.splitlines()]


def test_listed_images_of_a_class_without_test_images_are_refused_at_once(tmp_path):
    digits = load("digits")
    others = digits.test.take(
        digits.test.attributes["label"] != digits.train.attributes["label"][0]
    )
    source = dataclasses.replace(digits, test=others)
    config = tiny_config(forget="indices:0")
    with quick_judge(), pytest.raises(ValueError, match=r"forget.*class.*has none"):
        run_study(config, source, tmp_path / "out", methods=METHODS, seeds=1)
    assert not (tmp_path / "out").exists()
