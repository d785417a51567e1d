"""Claims about `gsu_jax.report`."""

import base64
import io
import json
import re
import resource
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gsu_jax import report
from gsu_jax.report import _figures as figures
from gsu_jax.report._grids import NOT_A_NUMBER

METRICS = {
    "fratio": 0.35,
    "fratio_upper95": 0.36,
    "inception_score": 2.8,
    "fid": 8.4,
    "fid_retain": 91.0,
    "nelbo_retain": 111.4,
    "nelbo_forget": 48.8,
    "coverage": 0.9,
    "steps": 52,
    "seconds": 0.7,
    "compile_seconds": 4.0,
}


def row(method, seed=0, diverged=False, **changed):
    values = {**METRICS, **changed}
    if diverged:
        values = dict.fromkeys(values)
    return {"method": method, "seed": seed, **values, "diverged": diverged}


def study(rows):
    return {
        "schema": 1,
        "experiment": "mnist138",
        "config": {"forget": "1", "dataset": "mnist", "model": {"widths": [400, 400]}},
        "environment": {"jax": "0.10.2", "devices": ["cpu:0"], "git": "abc"},
        "reference": {"samples": 10000, "feature_extractor": "AllCNN", "judge_accuracy": 0.997},
        "rows": rows,
        "summary": report.summarise(rows),
    }


def full_study():
    rows = []
    for seed in range(3):
        rows += [
            row("before", seed),
            row("retrain", seed, fratio=0.006, fratio_upper95=0.008, fid_retain=10.0 + seed),
            row("gradient_ascent", seed, diverged=seed == 1, nelbo_retain=1e13, fid_retain=281.0),
            row("redirect_surgery", seed, fratio=0.0, fratio_upper95=0.0003, fid_retain=11.0),
        ]
    return study(rows)


def histories(steps=30):
    t = np.arange(steps)
    ascent = {
        "retain_loss": 110 * np.exp(t.astype(float)),
        "forget_loss": np.where(t > 20, np.nan, 50 * np.exp(t)),
        "cosine": np.full(steps, -0.5),
    }
    redirect = {**ascent, "retain_loss": 110 + t, "applied_cosine": np.full(steps, 0.1)}
    return {"gradient_ascent": [ascent, ascent], "redirect_surgery": [redirect], "before": []}


def picture(data):
    return Image.open(io.BytesIO(data))


class Page(HTMLParser):
    """Collects tags and checks that they nest."""

    VOID = frozenset({"meta", "img", "br", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.ids = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# Grids


def test_a_grid_places_images_row_by_row_with_lines_between():
    images = (np.arange(5, dtype=np.uint8) * 40)[:, None, None, None] * np.ones(
        (1, 4, 6, 1), np.uint8
    )
    grid = report.image_grid(images, 3, scale=2, gap=2, background=255)
    assert grid.shape == (2 * 8 + 2, 3 * 12 + 4, 3)
    assert grid.dtype == np.uint8
    assert (grid[0:8, 14:26] == 40).all()
    assert (grid[10:18, 0:12] == 120).all()
    assert (grid[8:10] == 255).all()
    assert (grid[10:18, 28:] == 255).all()


def test_floats_are_clipped_and_bytes_kept():
    images = np.array([-1.0, 0.0, 0.5, 1.0, 7.0]).reshape(1, 1, 5, 1)
    assert report.image_grid(images, scale=1)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    colours = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(report.image_grid(colours, scale=1), colours[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_are_no_number_are_red(channels):
    images = np.full((2, 3, 3, channels), 0.5, np.float32)
    images[0, 0, 0, -1] = np.nan
    images[0, 1, 1, 0] = np.inf
    grid = report.image_grid(images, scale=1, gap=0)
    red = (grid == NOT_A_NUMBER).all(axis=-1)
    assert red[0, 0]
    assert red[1, 1]
    assert red.sum() == 2


@pytest.mark.parametrize(("size", "tile"), [(8, 56), (28, 56), (32, 64), (64, 64), (200, 200)])
def test_small_images_are_magnified_and_large_ones_kept(size, tile):
    assert report.image_grid(np.zeros((1, size, size, 1))).shape == (tile, tile, 3)


@pytest.mark.parametrize(
    ("images", "arguments", "error"),
    [
        (np.zeros((3, 8, 8)), {}, ValueError),
        (np.zeros((3, 8, 8, 2)), {}, ValueError),
        (np.zeros((0, 8, 8, 1)), {}, ValueError),
        (np.zeros((3, 8, 8, 1), np.int32), {}, TypeError),
        (np.zeros((3, 8, 8, 1)), {"columns": 0}, ValueError),
        (np.zeros((3, 8, 8, 1)), {"scale": 0}, ValueError),
    ],
)
def test_a_grid_refuses_what_it_cannot_draw(images, arguments, error):
    with pytest.raises(error, match=r"images must|at least 1"):
        report.image_grid(images, **arguments)


def test_save_grid_writes_a_png_of_the_grid(tmp_path):
    images = np.random.default_rng(0).random((7, 8, 8, 3))
    report.save_grid(tmp_path / "new" / "grid.png", images, columns=4)
    found = np.asarray(picture((tmp_path / "new" / "grid.png").read_bytes()))
    np.testing.assert_array_equal(found, report.image_grid(images, 4))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["grid.png"]


# Results


def entry(summary, method, metric):
    return next(e for e in summary if (e["method"], e["metric"]) == (method, metric))


def test_summary_has_mean_and_sample_deviation_in_the_order_of_the_rows():
    summary = report.summarise([row("b", s, fratio=f) for s, f in enumerate([0.1, 0.2, 0.6])])
    found = entry(summary, "b", "fratio")
    assert found["mean"] == pytest.approx(0.3)
    assert found["std"] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert found["n"] == 3
    assert (found["low"], found["high"]) == (0.1, 0.6)
    assert set(found) == {"method", "metric", "mean", "std", "low", "high", "n"}
    assert [e["metric"] for e in summary] == [*METRICS, "diverged"]


def test_diverged_rows_are_counted_and_left_out():
    rows = [row("b", 0, fratio=0.2), row("b", 1, diverged=True), row("b", 2, fratio=np.nan)]
    summary = report.summarise(rows)
    assert entry(summary, "b", "fratio") == {
        "method": "b", "metric": "fratio", "mean": 0.2, "std": None, "low": None, "high": None,
        "n": 1,
    }  # fmt: skip
    assert entry(summary, "b", "diverged")["mean"] == pytest.approx(1 / 3)
    assert entry(summary, "b", "diverged")["n"] == 3
    lost = report.summarise([row("b", 0, diverged=True)])
    assert entry(lost, "b", "fid") == {
        "method": "b", "metric": "fid", "mean": None, "std": None, "low": None, "high": None,
        "n": 0,
    }  # fmt: skip


def test_results_come_back_with_nan_as_null_and_numpy_as_plain(tmp_path):
    results = study([row("b", fratio=np.float32(0.5), fid=float("inf"), nelbo_retain=np.nan)])
    results["config"] = {"out": tmp_path, "widths": (1, 2), "array": np.arange(2)}
    report.write_results(tmp_path / "results.json", results)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    found = report.read_results(tmp_path / "results.json")
    assert found["rows"][0]["fratio"] == 0.5
    assert found["rows"][0]["fid"] is None
    assert found["config"] == {"out": str(tmp_path), "widths": [1, 2], "array": [0, 1]}
    report.write_results(tmp_path / "again.json", found)
    assert (tmp_path / "again.json").read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a whole results.json"),
        ('{"schema": 1, "rows": [', "not a whole results.json"),
        ('{"schema": 1, "experiment": "x", "rows": [{"method": "b", "fid": NaN}]}', "NaN"),
        ("[]", "no results.json of gsu_jax"),
        ('{"a": 1}', "no results.json of gsu_jax"),
        ('{"schema": 2}', "has schema 2, this gsu_jax knows 1"),
        ('{"schema": 1, "experiment": "x"}', "no list 'rows'"),
        ('{"schema": 1, "experiment": "x", "rows": [{}]}', r"rows\[0\] has no 'method'"),
    ],
)
def test_a_broken_or_foreign_results_file_is_said_to_be_so(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        report.read_results(tmp_path / "results.json")
    assert "Delete it" in str(caught.value)


def test_text_that_is_not_utf8_is_a_broken_results_file(tmp_path):
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a whole"):
        report.read_results(tmp_path / "results.json")


def test_what_json_cannot_hold_is_named_and_nothing_is_lost(tmp_path):
    path = tmp_path / "results.json"
    report.write_results(path, study([row("b")]))
    whole = path.read_text()
    with pytest.raises(TypeError, match=r"results\['rows'\]\[0\]\['fid'\] is a object"):
        report.write_results(path, study([row("b", fid=object())]))
    assert path.read_text() == whole


def test_a_full_disk_keeps_the_previous_file(tmp_path):
    path = tmp_path / "results.json"
    report.write_results(path, study([row("b")]))
    whole = path.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*results\.json.*free space"):
            report.write_results(path, study([row("b", s) for s in range(2000)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


# Tables


def test_the_terminal_table_is_aligned_and_says_what_diverged():
    lines = report.terminal_table(full_study()).splitlines()
    assert [line.split()[0] for line in lines[2:6]] == [
        "before", "retrain", "gradient_ascent", "redirect_surgery",
    ]  # fmt: skip
    assert "3 (1 diverged)" in lines[4]
    assert "11.0 ± 1.0" in lines[3]
    ends = {line.rindex("0.700 ± ") for line in lines[2:6]}
    assert len(ends) == 1
    assert "\x1b" not in "".join(lines)


def test_a_narrow_terminal_gets_every_column_in_blocks():
    wide = report.terminal_table(full_study())
    narrow = report.terminal_table(full_study(), width=70)
    assert max(map(len, narrow.splitlines())) <= 70
    assert set(wide.split()) <= set(narrow.split()) | {"-" * len(wide.splitlines()[1])}


def test_one_seed_shows_no_deviation_and_a_lost_method_dashes():
    table = report.terminal_table(study([row("before"), row("ascent", diverged=True)]))
    assert "±" not in table
    assert table.splitlines()[-1].split()[:4] == ["ascent", "–", "–", "–"]
    assert report.terminal_table(study([])) == "no results yet"


# Report


def test_the_report_is_one_whole_page_without_script_or_foreign_files(tmp_path):
    report.save_grid(tmp_path / "before.png", np.random.default_rng(0).random((10, 8, 8, 1)))
    published = {
        "before": {"fratio": "0.343 (0.027)", "fid": "0.030 (0.003)"},
        "Moon <et al.>": {"fratio": "0.344 (0.019)"},
    }
    grids = {
        "redirect_surgery": np.full((10, 8, 8, 1), np.nan),
        "before": tmp_path / "before.png",
        "retrain": np.zeros((20, 20, 3), np.uint8),
        "lost": tmp_path / "nowhere.png",
    }
    path = tmp_path / "report.html"
    report.write_report(path, full_study(), grids=grids, histories=histories(), published=published)
    text = path.read_text()
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe"} & set(names)
    assert names.count("svg") == 2
    assert len(page.ids) == len(set(page.ids))
    sources = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(sources) == 3
    pictures = [picture(base64.b64decode(source.split(",")[1])) for source in sources]
    assert pictures[0].size == picture((tmp_path / "before.png").read_bytes()).size
    assert not re.findall(r"""(?:src|href|@import|url\()\s*=?\s*["']?(?:https?:|//|file:)""", text)
    assert "picture missing" in text
    assert "0.343 (0.027)" in text
    assert "Moon &lt;et al.&gt;" in text
    assert "not comparable in absolute terms" in text
    assert "1 diverged run is left out" in text
    assert text.index(">before</figcaption>") < text.index(">retrain</figcaption>")


def test_the_best_and_the_level_of_retraining_are_marked(tmp_path):
    report.write_report(tmp_path / "report.html", full_study())
    table = re.search(r'<table class="main">.*?</table>', (tmp_path / "report.html").read_text())[0]
    lines = {re.sub("<wbr>", "", line.split("</th>")[0]): line for line in table.split("<tr")}
    redirect = next(line for name, line in lines.items() if "redirect_surgery" in name)
    ascent = next(line for name, line in lines.items() if "gradient_ascent" in name)
    assert re.findall(r'class="(\w*)"><abbr title="(\w+)">', redirect)[3] == ("good", "inside")
    assert "<b>11.0</b>" not in redirect  # its only rival diverged on a seed
    assert "1.00×" in redirect
    assert re.findall(r'class="(\w*)"><abbr title="(\w+)">', ascent)[3] == ("poor", "above")
    assert "<b>" not in ascent


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("redirect_surgery")],
        [row("gradient_ascent", diverged=True)],
        [row("before"), row("retrain", fratio=0.0, fid_retain=0.0)],
        [row("retrain", nelbo_retain=-900.0), row("a", nelbo_retain=-850.0)],
        [{"method": "own", "seed": 0, "fratio": 0.5}],
        [row(f"method_{i}", fid_retain=1e7 * i + 1) for i in range(30)],
    ],
)
def test_a_report_can_be_made_of_little_and_of_odd_rows(tmp_path, rows):
    report.write_report(tmp_path / "report.html", study(rows))
    text = (tmp_path / "report.html").read_text()
    Page(text)
    for r in rows:
        assert r["method"].split("_")[0] in text


def test_odd_histories_are_drawn(tmp_path):
    odd = {
        "a": [{"retain_loss": np.array([np.nan, np.inf])}],
        "b": [{"retain_loss": np.zeros(5)}, {"retain_loss": np.ones(3)}],
        "c": [{"retain_loss": np.array([4.0]), "cosine": np.array([0.1])}],
        "d": [{"forget_loss": -np.logspace(0, 13, 5000)}],
        "e": [{}],
    }
    report.write_report(tmp_path / "r.html", study([row(m) for m in "abcde"]), histories=odd)
    Page((tmp_path / "r.html").read_text())
    assert (tmp_path / "r.html").stat().st_size < 500_000


def test_a_method_keeps_its_colour_and_no_two_look_alike():
    methods = ["before", "retrain", *(f"m{i}" for i in range(13))]
    look = figures.styles(methods)
    assert len(set(look.values())) == len(methods)
    assert figures.styles(methods[:5])["m1"] == look["m1"]


def test_an_exploded_loss_is_on_a_symmetric_logarithmic_scale_and_a_tame_one_is_not():
    figure = figures.curves(histories())
    scales = [axes.get_yscale() for axes in figure.axes]
    assert scales[:3] == ["symlog", "symlog", "linear"]
    assert scales[3] == "linear"


def test_reading_results_and_the_table_need_neither_matplotlib_nor_pillow(tmp_path):
    report.write_results(tmp_path / "results.json", full_study())
    code = (
        "import sys; from gsu_jax import report; "
        f"report.terminal_table(report.read_results({str(tmp_path / 'results.json')!r})); "
        "print(sorted({'matplotlib', 'PIL'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []
