"""The evidence of the decoder in the rows of a study, also where an earlier release wrote them."""

import json
import os
import shutil

import pytest
from tiny_study import read, run_tiny, tiny_config

from gsu_jax import GradientAscent
from gsu_jax.metrics import EVIDENCE_METRICS
from gsu_jax.study import _evidence, _study

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("plain_report")]


@pytest.fixture
def old(copy):
    """A folder as an earlier release left it: without phi and without rho."""
    results = read(copy)
    for row in results["rows"]:
        for name in EVIDENCE_METRICS:
            del row[name]
    results["summary"] = [
        entry for entry in results["summary"] if entry["metric"] not in (*EVIDENCE_METRICS, "rho")
    ]
    (copy / "results.json").write_text(json.dumps(results))
    later = (copy / "results.json").stat().st_mtime + 1
    os.utime(copy / "report.html", (later, later))
    return copy


def test_rows_have_phi_and_the_summary_has_rho(finished):
    results = read(finished)
    for row in results["rows"]:
        assert row["diverged"] or row["phi_forget"] < 0
        assert row["diverged"] or row["phi_retain"] > -row["nelbo_retain"] - 1
    found = {e["method"]: e for e in results["summary"] if e["metric"] == "rho"}
    assert found.keys() == {"gradient_ascent"}
    assert found["gradient_ascent"]["n"] == 2


def means(folder):
    summary = read(folder)["summary"]
    return {(e["method"], e["metric"]): e for e in summary if e["method"] != "diverging"}


def test_the_next_run_adds_phi_from_the_checkpoints_alone(old, finished, no_work, monkeypatch):
    monkeypatch.setattr(_study, "write_report", lambda path, *_, **__: path.touch())
    run_tiny(old)
    whole = [row for row in read(finished)["rows"] if not row["diverged"]]
    assert [row for row in read(old)["rows"] if not row["diverged"]] == whole
    assert means(old) == means(finished)
    monkeypatch.setattr(_evidence, "evidence_of_kinds", None)
    run_tiny(old)  # measured once


def test_rows_without_a_checkpoint_stay_as_they_are(old, no_work):
    before = read(old)["rows"]
    shutil.rmtree(old / "checkpoints")
    run_tiny(old)
    assert read(old)["rows"] == before


def test_an_earlier_study_is_extended(old):
    rows = run_tiny(old, methods=(GradientAscent(label="faster", learning_rate=1e-3),))["rows"]
    assert len(rows) == 10
    assert all("phi_forget" in row for row in rows if not row["diverged"])


def test_study_may_measure_phi_of_fewer_images_or_of_none(tmp_path, finished):
    asked = {"methods": ("before",), "seeds": 1, "models_from": finished}
    few, none = (run_tiny(tmp_path / str(n), phi_images=n, **asked)["rows"][0] for n in (4, 0))
    every = read(finished)["rows"][0]
    assert few["phi_forget"] != every["phi_forget"]
    assert few["fratio"] == none["fratio"] == every["fratio"]
    assert {none[name] for name in EVIDENCE_METRICS} == {None}


def test_config_of_the_usual_number_of_images_is_recorded_as_by_earlier_releases(finished):
    assert "phi_images" not in read(finished)["config"]
    assert tiny_config(phi_images=4).record()["phi_images"] == 4
