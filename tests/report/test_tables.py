"""The results as plain text and as Markdown."""

import csv
import io
import json
import os
import re

import pytest
from report_rows import ensemble, row, study

from gsu_jax import report
from gsu_jax.cli import _report as command


def with_lost_seed():
    """Rows of two methods of which one diverged on a seed."""
    rows = [row(method, seed) for method in ("before", "ascent") for seed in range(3)]
    return [row("ascent", 1, diverged=True) if r == row("ascent", 1) else r for r in rows]


def test_the_terminal_table_is_aligned_plain_text():
    text = report.terminal_table(study(ensemble(("near", 1.0), ("a_longer_name", 3.0))))
    table = text.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in table[2:]] == ["retrain", "near", "a_longer_name"]
    assert len({len(line) for line in table}) == 1
    assert "\x1b" not in text


def test_the_terminal_table_counts_diverged_seeds():
    lines = report.terminal_table(study(with_lost_seed())).splitlines()
    assert lines[-1].endswith("3 (1 diverged)")
    assert lines[-2].endswith("3")


def test_a_narrow_terminal_gets_every_column_in_blocks():
    rows = ensemble(("near", 1.0), ("above", 3.0), ("below", 0.5))
    rows += [row(f"gradient_surgery_number_{i}", s) for i in range(13) for s in range(3)]
    wide, narrow = (report.terminal_table(study(rows), width=width) for width in (None, 80))
    assert max(map(len, narrow.splitlines())) <= 80
    assert set(wide.split()) - set(narrow.split()) == {wide.splitlines()[1]}
    assert "of 8 retrained models" in narrow


def test_the_terminal_table_shows_ratio_and_place():
    rows = ensemble(("near", 1.0), ("above", 3.0), ("below", 0.5))
    blocks = report.terminal_table(study(rows), width=80).split("\n\n")
    lines = next(block for block in blocks if "FID retained" in block).splitlines()
    cells = {line.split()[0]: line for line in lines[2:]}
    assert "1.01× ●" in cells["near"]
    assert "3.02× ▲" in cells["above"]
    assert "0.50× ▼" in cells["below"]
    assert "×" not in cells["retrain"]


def test_metrics_of_ones_own_are_columns_before_the_seconds(tmp_path):
    rows = [row(m, s, leaks=0.25 + s) for m in ("before", "retrain", "near") for s in range(3)]
    results = study(rows) | {"metrics": ["leaks"]}
    headings = report.terminal_table(results).splitlines()[0].split()
    assert headings.index("leaks") + 1 == headings.index("seconds")
    assert "| coverage ↑ | leaks | seconds ↓ |" in report.markdown_table(results)
    report.write_report(tmp_path / "report.html", results)
    assert "<th>leaks</th>" in re.sub(r"\s*\n\s*", "", (tmp_path / "report.html").read_text())
    assert "leaks" not in report.terminal_table(study(rows))


def test_one_seed_has_no_deviation_and_a_lost_method_dashes():
    table = report.terminal_table(study([row("before"), row("ascent", diverged=True)]))
    assert "±" not in table
    assert table.splitlines()[-1].split()[:4] == ["ascent", "–", "–", "–"]
    assert report.terminal_table(study([])) == "no results yet"


def test_one_retrained_model_gives_ratios_without_places():
    table = report.terminal_table(study([row("retrain"), row("a")]))
    assert "interval" not in table
    assert "1.00×" in table


def test_markdown_has_provenance_a_row_a_method_and_a_legend():
    rows = ensemble(("ours", 1.0), ("other", 3.0), ("lost", 1.0))
    rows = [row("lost", r["seed"], diverged=True) if r["method"] == "lost" else r for r in rows]
    lines = report.markdown_table(study(rows)).splitlines()
    assert lines[0] == (
        "`mnist138`: 2026-11-23; 1 x H200 (16 CPU cores); commit 6e9b7cf49fa1; "
        "gsu-jax 0.1.0, jax 0.10.2, flax 0.12.8."
    )
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")] for line in table}
    assert [*cells][2:] == ["**retrain**", "ours", "other", "lost"]
    column = cells["method"].index("FID retained ↓")
    assert cells["ours"][column] == "**30.2** ± 0.2 ●"
    assert cells["other"][column] == "90.6 ± 0.5 ▲"
    assert cells["ours"][cells["method"].index("worst 95 % bound")] == "0.0140"
    assert cells["ours"][cells["method"].index("seconds ↓")] == "1.000 ± 0.000 (2 %)"
    assert cells["lost"][cells["method"].index("fratio ↓")] == "diverged"
    assert cells["lost"][cells["method"].index("seeds")] == "5 (5 diverged)"
    assert "8 retrained models" in lines[-1]
    assert "10,000 samples a model, FID on AllCNN (99.7% on test images)" in lines[-1]


def test_markdown_can_be_made_of_little():
    assert "No row is finished" in report.markdown_table(study([]))
    text = report.markdown_table(study([row("a")], environment={}, reference={}))
    assert text.startswith("`mnist138`: unknown.")
    assert "●" not in text
    assert "bold" not in text


def test_latex_has_the_cells_of_markdown_and_escapes_names():
    results = study(ensemble(("ours_100%", 1.0), ("other", 3.0)))
    lines = report.latex_table(results).splitlines()
    table = lines[lines.index(r"\toprule") : lines.index(r"\bottomrule") + 1]
    assert lines[0].startswith("% needs ")
    assert lines[-1] == r"\end{tabular}"
    assert {line.count(" & ") for line in table if "rule" not in line} == {9}
    (ours,) = (line for line in table if line.startswith("ours"))
    assert ours.startswith(r"ours\_100\% & ")
    assert r"\textbf{30.2} $\pm$ 0.2 $\bullet$" in ours
    assert r"1.000 $\pm$ 0.000 (2 \%)" in ours
    (other,) = (line for line in table if line.startswith("other"))
    assert r"90.6 $\pm$ 0.5 $\bigtriangleup$" in other
    assert "\n".join(table).isascii()
    assert not re.search(r"(?<!\\)[%#_]", "\n".join(table))


def test_latex_can_be_made_of_little():
    assert all(line.startswith("% ") for line in report.latex_table(study([])).splitlines())


def test_csv_has_a_line_for_each_row_with_the_names_of_all():
    rows = [row("a, b"), row("c", 1, diverged=True), row("d", 2, extra=0.1)]
    header, *lines = csv.reader(io.StringIO(report.csv_table(study(rows))))
    assert header == [*row("a"), "extra"]
    assert [line[0] for line in lines] == ["a, b", "c", "d"]
    assert float(lines[0][header.index("fratio")]) == rows[0]["fratio"]
    assert lines[1][header.index("fratio")] == ""
    assert [line[-1] for line in lines] == ["", "", "0.1"]
    assert report.csv_table(study([])) == ""


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("markdown", "`mnist138`"),
        ("latex", "% needs"),
        ("csv", "method,"),
        ("html", "<!doctype html>"),
    ],
)
def test_the_command_prints_or_writes_every_format(tmp_path, capfd, name, start):
    report.write_results(tmp_path / "results.json", study(ensemble(("ours", 1.0))))
    assert command.main([str(tmp_path), "--format", name]) == 0
    printed = capfd.readouterr().out
    assert printed.lower().startswith(start)
    out = tmp_path / "there" / "file"
    assert command.main([str(tmp_path), "--format", name, "--out", str(out)]) == 0
    assert out.read_text() == printed
    assert capfd.readouterr() == ("", "")


def test_the_command_gives_the_page_of_the_run_while_it_is_of_these_results(tmp_path, capfd):
    report.write_results(tmp_path / "results.json", study([row("a")]))
    page = tmp_path / "report.html"
    page.write_text("the page")
    command.main([str(tmp_path), "--format", "html"])
    assert capfd.readouterr().out == "the page"
    os.utime(page, (0, 0))
    command.main([str(tmp_path), "--format", "html"])
    assert "mnist138" in capfd.readouterr().out


def test_the_command_names_a_format_and_a_place_that_it_cannot_write(tmp_path, capsys):
    report.write_results(tmp_path / "results.json", study([row("a")]))
    with pytest.raises(SystemExit, match="2"):
        command.main([str(tmp_path), "--format", "xml"])
    assert "'xml'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        command.main([str(tmp_path), "--fromat", "csv"])
    assert "unknown option --fromat. Did you mean '--format'?" in capsys.readouterr().err
    out = tmp_path / "results.json" / "inside"
    assert command.main([str(tmp_path), "--out", str(out)]) == 2
    assert str(out) in capsys.readouterr().err


def test_the_command_prints_the_markdown_of_a_file_or_a_folder(tmp_path, capfd):
    results = study(ensemble(("ours", 1.0)))
    report.write_results(tmp_path / "results.json", results)
    for path in (tmp_path / "results.json", tmp_path):
        assert command.main([str(path)]) == 0
        assert capfd.readouterr().out == report.markdown_table(results)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.json", None, "nowhere.json"),
        ("results.json", "{", "results.json"),
        ("results.json", json.dumps({"schema": 7}), "got 7"),
    ],
)
def test_the_command_names_an_unusable_file(tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert command.main([str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.match(f"error: .*{message}", printed.err)


@pytest.mark.parametrize(("share", "text"), [(0.02, "2 %"), (9.99, "999 %"), (23.3, "23.30×")])
def test_a_share_of_the_seconds_is_a_percentage_up_to_a_thousand(share, text):
    rows = ensemble(("ours", 1.0))
    for one in rows:
        one["seconds"] = 50.0 * (share if one["method"] == "ours" else 1)
    assert f"({text})" in report.markdown_table(study(rows))
