"""The residual share rho, the columns that it brings, and what a report says of it."""

import re

import numpy as np
import pytest
from report_rows import row, study

from gsu_jax import report
from gsu_jax.report._described import (
    AS_RETRAINED,
    AS_TRAINED_ON,
    OPEN,
    OVER_FORGOTTEN,
    descriptions,
)

LEVELS = {"before": -20.0, "retrain": -24.0}


def results(seeds=5, models=8, spread=0.1, **levels):
    """Rows of the models before, of retrained ones, and of methods at levels of phi."""
    rows = []
    for method, level in (LEVELS | levels).items():
        n = models if method == "retrain" else seeds
        for seed, away in enumerate(np.linspace(-spread, spread, n)):
            phi = {"phi_retain": -23.0, "phi_forget": level + away, "encoder_gap": 0.25 + away}
            rows.append(row(method, seed, **phi))
    return study(rows)


def entry_of(shares, method):
    (entry,) = (entry for entry in shares if entry["method"] == method)
    return entry


@pytest.mark.parametrize(
    ("level", "verdict"),
    [
        (-24.0, AS_RETRAINED),
        (-23.2, AS_RETRAINED),
        (-22.0, AS_TRAINED_ON),
        (-19.0, AS_TRAINED_ON),
        (-26.0, OVER_FORGOTTEN),
        (-23.0, OPEN),
        (-25.0, OPEN),
    ],
)
def test_a_verdict_needs_the_whole_interval(level, verdict):
    (found,) = descriptions(results(ours=level))
    assert (found.method, found.verdict) == ("ours", verdict)
    assert "rho" in found.figures
    assert ("power" in found.figures) == (verdict == AS_RETRAINED)


def test_a_claim_of_equality_has_its_test_and_power():
    (close,) = descriptions(results(ours=-24.0))
    assert "p 0.000, power 1.00 with 5 against 8 models" in close.figures
    (wide,) = descriptions(results(ours=-24.0, spread=1.5))
    assert wide.verdict == OPEN


def test_rho_is_the_share_of_the_gap_that_is_left():
    entry = entry_of(report.residual_shares(results(ours=-22.0)), "ours")
    assert entry["mean"] == pytest.approx(0.5)
    assert entry["low"] < 0.5 < entry["high"]
    assert (entry["metric"], entry["std"], entry["n"]) == ("rho", None, 5)


def test_baseline_and_yardstick_have_no_rho_and_diverged_rows_do_not_count():
    made = results(ours=-22.0)
    made["rows"] = [row("ours", 1, diverged=True) if _is(r, "ours", 1) else r for r in made["rows"]]
    (entry,) = report.residual_shares(made)
    assert (entry["method"], entry["n"]) == ("ours", 4)


def test_one_seed_has_rho_without_interval_and_verdict():
    (entry,) = report.residual_shares(results(seeds=1, ours=-22.0))
    assert entry["mean"] == pytest.approx(0.5, abs=0.05)
    assert entry["low"] is entry["high"] is None
    (found,) = descriptions(results(seeds=1, ours=-22.0))
    assert found.verdict == OPEN
    assert "no interval" in found.figures


def test_without_models_before_or_retrained_there_is_no_rho():
    for missing in ("before", "retrain"):
        made = results(ours=-22.0)
        made["rows"] = [r for r in made["rows"] if r["method"] != missing]
        assert report.residual_shares(made) == []
        assert "rho" in report.markdown_table(made)  # a column of dashes beside the gap


def test_every_table_shows_rho_with_its_interval_and_the_gap(tmp_path):
    made = results(ours=-22.0)
    low, high = (entry_of(report.residual_shares(made), "ours")[end] for end in ("low", "high"))
    interval = f"{low:.3f} to {high:.3f}"
    markdown = report.markdown_table(made)
    (line,) = (line for line in markdown.splitlines() if line.startswith("| ours"))
    assert f"| 0.500 ({interval}) | 0.250 ± 0.079 ● |" in line
    assert "| rho forgotten | encoder gap |" in markdown
    assert "- ours: still described as if trained on (rho 0.500" in markdown
    assert f"0.500 ({interval})" in report.latex_table(made)
    terminal = report.terminal_table(made, width=80)
    assert max(map(len, terminal.splitlines())) <= 80
    assert "ours: still described as if trained on" in terminal
    assert re.search(rf"0\.500 +{interval}", terminal)
    report.write_report(tmp_path / "report.html", made)
    page = (tmp_path / "report.html").read_text()
    assert "How the forgotten images are described" in page
    assert f"<small>{interval}</small>" in page
    assert '<td class="poor">0.500' in page


def test_rows_of_earlier_releases_have_the_tables_that_they_had(tmp_path):
    made = study([row(m, s) for m in ("before", "retrain", "ours") for s in range(3)])
    assert report.residual_shares(made) == []
    report.write_report(tmp_path / "report.html", made)
    for text in (
        report.markdown_table(made),
        report.terminal_table(made),
        report.latex_table(made),
        (tmp_path / "report.html").read_text(),
    ):
        assert "rho" not in text
        assert "encoder gap" not in text


def test_earlier_rows_beside_new_ones_have_dashes():
    made = results(ours=-22.0)
    for old in made["rows"]:
        if old["method"] == "before":
            del old["phi_retain"], old["phi_forget"], old["encoder_gap"]
    (line,) = (x for x in report.markdown_table(made).splitlines() if x.startswith("| ours"))
    assert "| – | 0.250 ± 0.079 ● |" in line


def test_single_images_outside_the_retrained_models_are_counted_where_rows_have_e():
    made = results(ours=-22.0)
    for one in made["rows"]:
        outside = 0.25 if one["method"] == "ours" else 0.05
        one |= {"e_forget_outside": outside, "e_retain_outside": 0.04}
    (found,) = descriptions(made)
    assert found.figures.endswith(
        "; outside: 25 % of forgotten, 4 % of retained images (of a retrained model 5 % and 4 %)"
    )
    (plain,) = descriptions(results(ours=-22.0))
    assert "outside" not in plain.figures


def test_log_evidence_and_its_gap_have_no_ratio():
    entries = report.compare(results(ours=22.0, retrain=24.0))
    ratios = {e["metric"]: e["ratio"] for e in entries if e["method"] == "ours"}
    assert ratios["phi_forget"] is ratios["encoder_gap"] is None
    assert ratios["fid"] == 1


def _is(r, method, seed):
    return (r["method"], r["seed"]) == (method, seed)
