"""`results.json`, its summary over seeds, and the roles of methods."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from report_rows import METRICS, ensemble, row, study

from gsu_jax import report
from gsu_jax.report._results import roles_of, with_role


def entry(summary, method, metric):
    return next(e for e in summary if (e["method"], e["metric"]) == (method, metric))


def test_summary_has_mean_and_sample_deviation():
    summary = report.summarize([row("b", s, fratio=f) for s, f in enumerate([0.1, 0.2, 0.6])])
    fratio = entry(summary, "b", "fratio")
    assert fratio["mean"] == pytest.approx(0.3)
    assert fratio["std"] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert (fratio["low"], fratio["high"], fratio["n"]) == (0.1, 0.6, 3)
    assert [e["metric"] for e in summary] == [*METRICS, "diverged"]


def test_summary_counts_diverged_rows_and_leaves_them_out():
    rows = [row("b", 0, fratio=0.2), row("b", 1, diverged=True), row("b", 2, fratio=np.nan)]
    summary = report.summarize(rows)
    unknown = dict.fromkeys(("std", "low", "high"))
    names = {"method": "b", "metric": "fratio"}
    assert entry(summary, "b", "fratio") == names | unknown | {"mean": 0.2, "n": 1}
    assert entry(summary, "b", "diverged")["mean"] == pytest.approx(1 / 3)
    assert entry(summary, "b", "diverged")["n"] == 3
    lost = report.summarize([row("b", 0, diverged=True)])
    assert entry(lost, "b", "fratio") == names | unknown | {"mean": None, "n": 0}


def test_a_role_is_recorded_or_follows_from_the_name():
    rows = [row("before"), row("retrain, lr 1"), row("reference"), row("own")]
    records = {"retrain, lr 1": {"name": "retrain"}}
    results = study(rows, config={"methods": records}, roles={"reference": "yardstick"})
    assert [*roles_of(results).values()] == ["baseline", "yardstick", "yardstick", "method"]
    assert with_role("yardstick", results) == "retrain, lr 1"
    assert with_role("yardstick", study([row("own")])) is None


def test_results_are_read_back_with_nan_as_null_and_numpy_as_plain(tmp_path):
    results = study([row("b", fratio=np.float32(0.5), fid=float("inf"), nelbo_retain=np.nan)])
    results["config"] = {"out": tmp_path, "widths": (1, 2), "array": np.arange(2)}
    report.write_results(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    read = report.read_results(tmp_path / "results.json")
    assert read["rows"][0]["fratio"] == 0.5
    assert read["rows"][0]["fid"] is None
    assert read["config"] == {"out": str(tmp_path), "widths": [1, 2], "array": [0, 1]}
    report.write_results(tmp_path / "again.json", read)
    assert (tmp_path / "again.json").read_text() == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "results.json"),
        (b'{"schema": 1, "rows": [', "results.json"),
        (b"\xff\xfe\x00", "results.json"),
        (b'{"schema": 1, "experiment": "x", "rows": [{"method": "b", "fid": NaN}]}', "NaN"),
        (b"[]", "'schema'"),
        (b'{"a": 1}', "'schema'"),
        (b'{"schema": 2}', "schema must be 1, got 2"),
        (b'{"schema": 1, "rows": []}', "'experiment'"),
        (b'{"schema": 1, "experiment": "x"}', "'rows'"),
        (b'{"schema": 1, "experiment": "x", "rows": [{}]}', r"rows\[0\].*'method'"),
    ],
)
def test_a_broken_or_foreign_file_is_refused(tmp_path, content, message):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        report.read_results(tmp_path / "results.json")
    assert "Delete it" in str(error.value)


def test_a_failed_write_keeps_the_previous_file(tmp_path):
    path = tmp_path / "results.json"
    report.write_results(path, study([row("b")]))
    whole = path.read_text()
    with pytest.raises(TypeError, match=r"results\['rows'\]\[0\]\['fid'\].*object"):
        report.write_results(path, study([row("b", fid=object())]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"results\.json.*free space"):
            report.write_results(path, study([row("b", s) for s in range(2000)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_tables_of_text_need_neither_matplotlib_nor_pillow_nor_jinja2(tmp_path):
    report.write_results(tmp_path / "results.json", study(ensemble(("ours", 1.0))))
    code = (
        "import sys; from gsu_jax import report; "
        f"results = report.read_results({str(tmp_path / 'results.json')!r}); "
        "assert 'rich' not in sys.modules; "
        "report.terminal_table(results), report.markdown_table(results); "
        "import json; print(json.dumps(sorted({'matplotlib', 'PIL', 'jinja2'} & set(sys.modules))))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []
