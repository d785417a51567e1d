"""What two judges say of a method, and where tables and the report show it."""

import pytest
from report_rows import row, study

from gsu_jax import report
from gsu_jax.report._judges import APART, BOTH_MET, aim_met, judge_verdicts

RETRAINED = {"fratio": 0.01, "fid_retain": 30.0, "fratio_second": 0.002, "fid_retain_second": 5.0}
GOOD, FID_APART = (1.0, 1.0, 1.0, 1.0), (1.0, 1.2, 1.0, 1.0)


def results(**methods):
    """Rows of retrained models, and of methods at these multiples of all four figures."""
    rows = []
    for name, times in ({"before": (9,) * 4, "retrain": GOOD} | methods).items():
        for seed in range(3):
            figures = {
                metric: factor * value * (1 + 0.01 * seed)
                for factor, (metric, value) in zip(times, RETRAINED.items(), strict=True)
            }
            shares = {"fratio_corrected": 0.004, "fratio_second_corrected": 0.003}
            rows.append(row(name, seed, **figures, **shares))
    return study(rows)


def test_an_aim_is_a_multiple_of_retraining_or_a_share_that_is_small_enough():
    assert aim_met("fratio", 0.015, 0.01)
    assert not aim_met("fratio", 0.016, 0.01)
    assert aim_met("fratio", 0.005, 0.0)
    assert not aim_met("fratio", 0.0051, 0.0)
    assert aim_met("fid_retain", 1.1, 1.0)
    assert not aim_met("fid_retain", 1.2, 1.0)


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        (GOOD, BOTH_MET),
        ((1.0, 1.0, 2.4, 1.0), BOTH_MET),  # 0.0048 is small enough
        ((2.0, 1.0, 4.0, 1.0), "agree: fratio above the aim"),
        ((2.0, 1.3, 4.0, 1.2), "agree: fratio and FID above the aim"),
        (FID_APART, APART + "FID"),
        ((1.0, 1.0, 4.0, 1.3), APART + "fratio and FID"),
    ],
)
def test_a_verdict_is_that_of_both_judges(times, verdict):
    (found,) = judge_verdicts(results(ours=times))
    assert (found.method, found.verdict) == ("ours", verdict)
    assert "share corrected for their errors 0.0040 and 0.0030" in found.figures


def test_comparison_says_whether_the_judges_agree():
    entries = [e for e in report.compare(results(ours=FID_APART)) if e["method"] == "ours"]
    said = {e["metric"]: (e["judges_agree"], e["aims_met"]) for e in entries if "aims_met" in e}
    assert said == {"fratio": (True, [True, True]), "fid_retain": (False, [False, True])}


def test_tables_and_page_show_the_second_judge_and_mark_disagreement(tmp_path):
    made = results(ours=FID_APART, other=GOOD)
    markdown = report.markdown_table(made)
    assert "| FID retained ↓ | fratio 2nd judge ↓ | FID 2nd judge ↓ |" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")] for line in lines}
    second = cells["method"].index("FID 2nd judge ↓")
    assert cells["ours"][second].endswith("≠")
    assert "≠" not in "".join(cells["other"] + cells["**before**"])
    assert "- ours: disagree, not believed: FID (fratio 1.00× and 1.00×; FID 1.20× and" in markdown
    assert r"$\neq$" in report.latex_table(made)
    terminal = report.terminal_table(made, width=80)
    assert max(map(len, terminal.splitlines())) <= 80
    assert "ours: disagree, not believed: FID" in terminal
    report.write_report(tmp_path / "report.html", made)
    page = (tmp_path / "report.html").read_text()
    assert "What both judges say" in page
    assert "<small>≠ 2nd 5.05, 1.00×</small>" in page
    assert "<small>2nd 0.0020, 1.00×</small>" in page
    assert f'<td class="good">{BOTH_MET}' in page
    assert f'<td class="poor">{APART}FID' in page


def test_the_second_judge_stands_in_the_legend_and_in_the_facts_of_the_page():
    made = results(ours=GOOD)
    made["reference"]["second_judge"] = {
        "feature_extractor": "MLP-256-32, 32 penultimate features",
        "judge_accuracy": 0.972,
    }
    assert "2nd judge: MLP-256-32, 32 penultimate features (97.2%)" in report.markdown_table(made)
    assert "<dd>MLP-256-32, 97.2 %</dd>" in report.html_page(made)


def test_studies_with_one_judge_have_the_tables_that_they_had():
    made = study([row(m, s) for m in ("before", "retrain", "ours") for s in range(3)])
    assert judge_verdicts(made) == []
    assert not [entry for entry in report.compare(made) if "judges_agree" in entry]
    for text in (
        report.markdown_table(made),
        report.terminal_table(made),
        report.latex_table(made),
        report.html_page(made),
    ):
        assert "judges" not in text
        assert "2nd judge" not in text


def test_rows_that_the_second_judge_has_not_seen_have_dashes_and_no_verdict():
    made = results(ours=GOOD, other=GOOD)
    for one in made["rows"]:
        if one["method"] == "other":
            del one["fratio_second"], one["fid_retain_second"]
    assert [found.method for found in judge_verdicts(made)] == ["ours"]
    (line,) = (x for x in report.markdown_table(made).splitlines() if x.startswith("| other"))
    assert "| – | – |" in line
