"""Claims about what `gsu_jax.report` says of the retrained ensemble, and about its tables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gsu_jax import report
from gsu_jax.cli import _report as command
from gsu_jax.metrics import _seeds as statistics
from gsu_jax.report._front import front, utility_axis

ROOT = Path(__file__).parents[2]
RETRAINED = [30.0, 31.0, 29.0, 30.5, 29.5, 31.5, 28.5, 30.0]


def row(method, seed, diverged=False, **changed):
    values = {
        "fratio": 0.006 + 0.001 * seed,
        "fratio_upper95": 0.01 + 0.001 * seed,
        "inception_score": 1.9,
        "fid_retain": RETRAINED[seed % 8],
        "nelbo_retain": 109.0 + 0.1 * seed,
        "seconds": 50.0,
        "steps": 100,
    } | changed
    if diverged:
        values = dict.fromkeys(values)
    return {"method": method, "seed": seed, **values, "diverged": diverged}


def rows_of(*methods, seeds=5):
    """Eight retrained models and methods at these multiples of a retrained FID."""
    rows = [row("retrain", seed) for seed in range(8)]
    for method, times in methods:
        rows += [
            row(method, s, fid_retain=times * (30 + 0.1 * s), seconds=1.0, nelbo_retain=110.0 + s)
            for s in range(seeds)
        ]
    return rows


def study(rows, **changed):
    environment = {
        "jax": "0.10.2",
        "devices": ["1 x H200"],
        "cpus": 16,
        "git": "6e9b7cf49fa1",
        "date": "2026-11-23T22:38:47+00:00",
        "versions": {"gsu-jax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8", "optax": None},
    }
    reference = {"samples": 10000, "feature_extractor": "AllCNN", "judge_accuracy": 0.997}
    results = {"schema": 1, "experiment": "mnist138", "config": {}, "environment": environment}
    return results | {"reference": reference, "rows": rows} | changed


def compared(rows, method, metric):
    return next(
        entry
        for entry in report.compare(rows)
        if (entry["method"], entry["metric"]) == (method, metric)
    )


# Comparison


def test_a_method_is_compared_by_ratio_and_by_place_in_the_prediction_interval():
    rows = rows_of(("near", 1.02), ("far", 2.0))
    low, high = statistics.prediction_interval(RETRAINED)
    near, far = (compared(rows, method, "fid_retain") for method in ("near", "far"))
    assert (near["predicted_low"], near["predicted_high"]) == (low, high)
    assert near["ratio"] == pytest.approx(1.02 * 30.2 / 30)
    assert (near["inside"], near["seeds_inside"]) == (True, 5)
    assert (far["inside"], far["seeds_inside"]) == (False, 0)
    error = np.std(RETRAINED, ddof=1) * np.sqrt(9 / 8)
    assert far["z"] == pytest.approx((2 * 30.2 - 30) / error)


def test_the_retrained_models_are_not_compared_with_themselves_and_costs_have_no_place():
    rows = rows_of(("a", 1.0))
    assert {entry["method"] for entry in report.compare(rows)} == {"a"}
    seconds = compared(rows, "a", "seconds")
    assert seconds["ratio"] == pytest.approx(0.02)
    assert seconds["inside"] is None


def test_methods_are_tested_against_the_papers_over_the_seeds_that_both_have():
    rows = rows_of(("gradient_ascent", 9.0), ("gradient_surgery", 5.0), ("ours", 1.0))
    rows = [r for r in rows if (r["method"], r["seed"]) != ("gradient_surgery", 4)]
    rows[8]["diverged"] = True
    ours = compared(rows, "ours", "fid_retain")
    assert (ours["gradient_ascent"]["n"], ours["gradient_surgery"]["n"]) == (4, 4)
    assert ours["gradient_surgery"]["p"] == 2 / 16
    assert ours["gradient_surgery"]["difference"] == pytest.approx(-4 * 30.15)
    assert compared(rows, "gradient_ascent", "fid_retain")["gradient_ascent"] is None


def test_too_few_to_compare_give_null_and_nothing_fails():
    one = [row("retrain", 0), row("a", 0, fid_retain=60.0), row("gradient_ascent", 0)]
    entry = compared(one, "a", "fid_retain")
    assert entry["ratio"] == 2.0
    empty = ("z", "inside", "seeds_inside", "predicted_low", "gradient_ascent")
    assert [entry[name] for name in empty] == [None] * 5
    lost = [*rows_of(), row("a", 0, diverged=True)]
    assert compared(lost, "a", "fid_retain")["ratio"] is None
    alone = compared([row("a", 0), row("a", 1)], "a", "fid_retain")
    assert alone["ratio"] is None
    assert report.compare([]) == []


def test_the_comparison_fits_strict_json_when_the_ensemble_has_no_spread(tmp_path):
    rows = [row("retrain", s, fratio=0.0) for s in range(3)] + [row("a", s) for s in range(3)]
    results = study(rows, comparison=report.compare(rows))
    report.write_results(tmp_path / "results.json", results)
    assert report.read_results(tmp_path / "results.json")["comparison"] == results["comparison"]
    assert compared(rows, "a", "fratio")["z"] is None


# Terminal and page


def test_sixteen_methods_fit_eighty_columns_with_a_sign_each():
    rows = rows_of(("near", 1.0), ("above", 3.0), ("below", 0.5))
    rows += [row(f"gradient_surgery_number_{i}", s) for i in range(13) for s in range(3)]
    table = report.terminal_table(study(rows), width=80)
    assert max(map(len, table.splitlines())) <= 80
    block = next(b for b in table.split("\n\n") if "FID retain" in b)
    ends = {line.split()[0]: line for line in block.splitlines()[2:]}
    assert "1.01× =" in ends["near"]
    assert "3.02× >" in ends["above"]
    assert "0.50× <" in ends["below"]
    assert "×" not in ends["retrain"]
    assert "of 8 retrained models" in table


def test_without_two_retrained_models_there_is_no_sign_to_explain():
    table = report.terminal_table(study([row("retrain", 0), row("a", 0)]))
    assert "interval" not in table
    assert "1.00×" in table


def test_the_page_marks_places_by_shape_and_shows_worst_seeds_pairs_and_cost(tmp_path):
    rows = rows_of(("gradient_ascent", 9.0), ("ours", 1.0), ("under", 0.5), ("other", 3.0))
    report.write_report(tmp_path / "report.html", study(rows))
    text = (tmp_path / "report.html").read_text()
    main = re.search(r'<table class="main">.*?</table>', text)[0]
    lines = {re.match(r"[^>]*><th>(.*?)</th>", line)[1]: line for line in main.split("<tr")[2:]}
    assert '<abbr title="inside">●</abbr>' in lines["ours"]
    assert '<abbr title="above">▲</abbr>27' in lines["gradient_<wbr>ascent"]
    assert '<abbr title="below">▼</abbr><b>15.1</b>' in lines["under"]
    low, high = statistics.prediction_interval(RETRAINED)
    assert f"<small>{low:.1f} to {high:.1f}</small>" in lines["retrain"]
    assert "worst 30.4 <i>#4</i>" in lines["ours"]
    bound = statistics.upper_bound([0.006 + 0.001 * seed for seed in range(5)]).bound
    assert f"mean ≤ {bound:.4f}" in lines["ours"]
    pairs = re.search(r'<table class="published">.*?</table>', text)[0]
    assert "minus gradient_<wbr>ascent" in pairs
    assert "p 0.062" in pairs
    cost = re.search(r'<table class="cost">.*?</table>', text)[0]
    assert "<td>2 %</td>" in cost
    assert '<i class="bar" style="width:2.00%">' in cost


def test_the_front_draws_the_retrained_region_in_both_panels_and_names_every_method():
    rows = rows_of(*((f"m{i}", 1.0 + i) for i in range(14)))
    figure = front(rows)
    low, high = statistics.prediction_interval(RETRAINED)
    fid, nelbo = figure.axes
    assert len(nelbo.patches) == 1
    (box,) = (patch.get_bbox() for patch in fid.patches)
    np.testing.assert_allclose([box.y0, box.y1], [low, high])
    across = statistics.prediction_interval([0.006 + 0.001 * s for s in range(8)])
    assert box.x1 == pytest.approx(across.high)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["retrain", *(f"m{i}" for i in range(14)), "95 % of retrained models"]


def test_a_wrecked_method_does_not_squeeze_the_neighbourhood_of_retraining():
    rows = rows_of(("ours", 1.0), ("wreck", 1e6))
    rows += [row("wreck", s, nelbo_retain=3e16, fid_retain=1e9) for s in (5, 6)]
    for metric, retrained, highest in (("fid_retain", 30, 100), ("nelbo_retain", 109, 150)):
        axis = utility_axis(rows, metric)
        assert 0 < axis.low < retrained < axis.high < highest
    negative = [row("retrain", s, nelbo_retain=-900.0 - s) for s in range(3)]
    axis = utility_axis([*negative, row("a", 0, nelbo_retain=1e9)], "nelbo_retain")
    assert not axis.log
    assert axis.low < -902
    assert -900 < axis.high < 0
    front([*negative, row("a", 0, nelbo_retain=1e9), row("b", 0, fid_retain=None)])


# Markdown


def test_the_markdown_table_has_its_origin_a_row_a_method_and_a_legend():
    rows = rows_of(("ours", 1.0), ("other", 3.0), ("lost", 1.0))
    rows = [row("lost", r["seed"], diverged=True) if r["method"] == "lost" else r for r in rows]
    lines = report.markdown_table(study(rows)).splitlines()
    assert lines[0] == (
        "`mnist138`: 2026-11-23; 1 x H200 (16 CPU cores); commit 6e9b7cf49fa1; "
        "gsu-jax 0.1.0, jax 0.10.2, flax 0.12.8."
    )
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    cells = {line.split("|")[1].strip(): line.split("|") for line in table}
    assert list(cells)[2:] == ["**retrain**", "ours", "other", "lost"]
    assert cells["ours"][5].strip() == "**30.2** ± 0.2 ●"
    assert cells["other"][5].strip() == "90.6 ± 0.5 ▲"
    assert cells["ours"][3].strip() == "0.0140"
    assert cells["ours"][9].strip() == "1.000 ± 0.000 (2 %)"
    assert cells["lost"][2].strip() == "diverged"
    assert cells["lost"][10].strip() == "5 (5 diverged)"
    assert "8 retrained models" in lines[-1]
    assert "10,000 samples a model, FID on AllCNN (99.7% on test images)" in lines[-1]


def test_markdown_can_be_made_of_little():
    assert "No row is finished" in report.markdown_table(study([]))
    text = report.markdown_table(study([row("a", 0)], environment={}, reference={}))
    assert text.startswith("`mnist138`: unknown.")
    assert "●" not in text
    assert "bold" not in text


def test_the_command_prints_the_table_of_a_file_or_its_folder(tmp_path, capsys):
    rows = rows_of(("ours", 1.0))
    report.write_results(tmp_path / "results.json", study(rows))
    done = subprocess.run(
        [sys.executable, "-m", "gsu_jax", "report", tmp_path / "results.json"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.decode() == report.markdown_table(study(rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.json", None, "there is no .*nowhere.json; give the results.json of a run"),
        ("results.json", "{", "not a whole results.json"),
        ("results.json", json.dumps({"schema": 7}), "has schema 7"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_file(tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert command.main([str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.match(f"error: .*{message}", printed.err)
