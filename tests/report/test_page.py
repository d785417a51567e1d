"""report.html: one page with everything inside."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_rows import RETRAINED_FID, ensemble, row, study

from gsu_jax import report
from gsu_jax.metrics import bootstrap_interval, prediction_interval


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


def written(folder, results, **pictures):
    report.write_report(folder / "report.html", results, **pictures)
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A full page: four methods, one of two seeds lost, pictures, curves and published values."""
    folder = tmp_path_factory.mktemp("page")
    rows = ensemble(("gradient_ascent", 9.0), ("ours", 1.0), ("under", 0.5), ("other", 3.0))
    rows += [row("lost", 0), row("lost", 1, diverged=True)]
    report.save_grid(folder / "retrain.png", np.random.default_rng(0).random((10, 8, 8, 1)))
    grids = {
        "under": np.full((10, 8, 8, 1), np.nan),
        "retrain": folder / "retrain.png",
        "ours": np.zeros((20, 20, 3), np.uint8),
        "other": folder / "nowhere.png",
    }
    steps = np.arange(30)
    histories = {
        "ours": [{"retain_loss": 110 + steps, "cosine": np.full(30, -0.5)}],
        "other": [],
    }
    published = {
        "before": {"fratio": "0.343 (0.027)", "fid": "0.030 (0.003)"},
        "Moon <et al.>": {"fratio": "0.344 (0.019)"},
    }
    return written(folder, study(rows), grids=grids, histories=histories, published=published)


@pytest.fixture(scope="module")
def lines(text):
    """The rows of the main table by method."""
    table = re.search(r'<table class="main">.*?</table>', text, re.DOTALL)[0]
    return {re.search(r"<th>(.*?)</th>", line)[1]: line for line in table.split("<tr")[2:]}


def test_the_page_is_whole_without_scripts_or_other_files(text):
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe"} & set(names)
    assert names.count("svg") == 2
    assert len(page.ids) == len(set(page.ids))
    assert not re.findall(r"""(?:src|href|@import|url\()\s*=?\s*["']?(?:https?:|//|file:)""", text)


def test_pictures_are_inside_in_the_order_of_the_rows_and_a_lost_one_is_named(text):
    sources = [a["src"] for tag, a in Page(text).tags if tag == "img"]
    images = [Image.open(io.BytesIO(base64.b64decode(s.split(",")[1]))) for s in sources]
    assert [image.size for image in images] == [(578, 56), (20, 20), (578, 56)]
    captions = re.findall("</i>([^<]*)</figcaption>", text)
    assert captions == ["retrain", "ours", "under", "other"]
    assert "nowhere.png" in text


def test_published_values_stand_beside_ours_and_are_escaped(text):
    assert "0.343 (0.027)" in text
    assert "Moon &lt;et al.&gt;" in text
    assert "not comparable in absolute terms" in text


def test_the_main_table_marks_places_best_and_worst(lines):
    assert '<abbr title="inside">●</abbr>' in lines["ours"]
    assert '<abbr title="above">▲</abbr>27' in lines["gradient_<wbr>ascent"]
    assert '<abbr title="below">▼</abbr><b>15.1</b>' in lines["under"]
    low, high = prediction_interval(RETRAINED_FID)
    assert f"<small>{low:.1f} to {high:.1f}</small>" in lines["retrain"]
    assert "worst 30.4 <i>#4</i>" in lines["ours"]
    bound = bootstrap_interval([0.006 + 0.001 * seed for seed in range(5)]).high
    assert f"mean ≤ {bound:.4f}" in lines["ours"]


def test_the_main_table_grades_by_the_level_of_retraining(lines):
    grade = re.compile(r'<td class="(\w*)"><abbr title="(\w+)">(?:.)</abbr>(?:<b>)?(\d+\.\d)')
    assert ("good", "inside", "30.2") in grade.findall(lines["ours"])
    assert ("good", "below", "15.1") in grade.findall(lines["under"])
    assert ("poor", "above", "90.6") in grade.findall(lines["other"])
    assert 'class="yardstick"' in lines["retrain"]


def test_diverged_seeds_are_counted(text, lines):
    assert "1 diverged run is left out" in text
    assert "2<small>(1 diverged)</small>" in lines["lost"]


def test_differences_from_the_papers_methods_have_a_p_value(text):
    pairs = re.search(r'<table class="published">.*?</table>', text, re.DOTALL)[0]
    assert "minus gradient_<wbr>ascent" in pairs
    assert "p 0.062" in pairs


def test_the_cost_is_a_share_of_a_retraining(text):
    cost = re.search(r'<table class="cost">.*?</table>', text, re.DOTALL)[0]
    assert "<td>2 %</td>" in cost
    assert '<i class="bar" style="width:2.00%">' in cost


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("gradient_ascent", diverged=True)],
        [row("retrain", nelbo_retain=-900.0, fid_retain=0.0), row("a", nelbo_retain=-850.0)],
        [{"method": "own", "seed": 0, "fratio": 0.5}],
        [row(f"method_{i}", fid_retain=1e7 * i + 1) for i in range(30)],
    ],
)
def test_a_page_can_be_made_of_little_and_of_odd_rows(tmp_path, rows):
    text = written(tmp_path, study(rows))
    Page(text)
    for r in rows:
        assert r["method"].split("_")[0] in text
