"""Methods compared with the retrained ensemble and with the paper's methods."""

import numpy as np
import pytest
from report_rows import RETRAINED_FID, ensemble, row, study

from gsu_jax import report
from gsu_jax.metrics import prediction_interval


def compared(rows, method, metric):
    return next(
        entry
        for entry in report.compare(study(rows))
        if (entry["method"], entry["metric"]) == (method, metric)
    )


def test_a_method_has_a_ratio_and_a_place_in_the_prediction_interval():
    rows = ensemble(("near", 1.02), ("far", 2.0))
    near, far = (compared(rows, method, "fid_retain") for method in ("near", "far"))
    interval = prediction_interval(RETRAINED_FID)
    assert (near["predicted_low"], near["predicted_high"]) == interval
    assert near["ratio"] == pytest.approx(1.02 * 30.2 / 30)
    assert (near["inside"], near["seeds_inside"]) == (True, 5)
    assert (far["inside"], far["seeds_inside"]) == (False, 0)
    error = np.std(RETRAINED_FID, ddof=1) * np.sqrt(9 / 8)
    assert far["z"] == pytest.approx((2 * 30.2 - 30) / error)


def test_retrained_models_are_not_compared_and_costs_have_no_place():
    rows = ensemble(("a", 1.0))
    assert {entry["method"] for entry in report.compare(study(rows))} == {"a"}
    seconds = compared(rows, "a", "seconds")
    assert seconds["ratio"] == pytest.approx(0.02)
    assert seconds["inside"] is None


def test_methods_are_paired_with_the_papers_over_common_seeds():
    rows = ensemble(("gradient_ascent", 9.0), ("gradient_surgery", 5.0), ("ours", 1.0))
    rows = [r for r in rows if (r["method"], r["seed"]) != ("gradient_surgery", 4)]
    rows[8]["diverged"] = True
    ours = compared(rows, "ours", "fid_retain")
    assert (ours["gradient_ascent"]["n"], ours["gradient_surgery"]["n"]) == (4, 4)
    assert ours["gradient_surgery"]["p"] == 2 / 16
    assert ours["gradient_surgery"]["difference"] == pytest.approx(-4 * 30.15)
    assert compared(rows, "gradient_ascent", "fid_retain")["gradient_ascent"] is None


def test_too_few_models_to_compare_give_null():
    one = [row("retrain", fid_retain=30.0), row("a", fid_retain=60.0), row("gradient_ascent")]
    entry = compared(one, "a", "fid_retain")
    assert entry["ratio"] == 2.0
    empty = ("z", "inside", "seeds_inside", "predicted_low", "gradient_ascent")
    assert [entry[name] for name in empty] == [None] * 5
    lost = [*ensemble(), row("a", diverged=True)]
    assert compared(lost, "a", "fid_retain")["ratio"] is None
    assert compared([row("a", 0), row("a", 1)], "a", "fid_retain")["ratio"] is None
    assert report.compare(study([])) == []


def test_an_ensemble_without_spread_gives_null_and_strict_json(tmp_path):
    rows = [row("retrain", s, fratio=0.0) for s in range(3)] + [row("a", s) for s in range(3)]
    results = study(rows, comparison=report.compare(study(rows)))
    report.write_results(tmp_path / "results.json", results)
    assert report.read_results(tmp_path / "results.json")["comparison"] == results["comparison"]
    assert compared(rows, "a", "fratio")["z"] is None
