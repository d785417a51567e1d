"""A study of a model without an encoder has its bound in the rows, and no decoder evidence."""

import pytest
import tiny_study

from gsu_jax.cli._able import able
from gsu_jax.cli.experiments.diffusion import METHODS, MNIST, note
from gsu_jax.metrics import EVIDENCE_METRICS, RESIDUAL_METRICS
from gsu_jax.models import MLPDiffusionConfig
from gsu_jax.report import terminal_table
from gsu_jax.study import Recipe

pytestmark = pytest.mark.long

MODEL = MLPDiffusionConfig(
    coordinates=64, width=16, depth=1, gamma_min=-8.0, sampler_steps=5, bound_times=4
)
ROWS = ("before", "retrain", "gradient_surgery")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a study with three retrained models, and its results."""
    folder = tmp_path_factory.mktemp("diffusion")
    options = {"model": MODEL, "ensemble": 3, "pretraining": Recipe(epochs=20, one_cycle=True)}
    return folder, options, tiny_study.run_tiny(folder, methods=ROWS, seeds=1, **options)


def test_rows_have_the_bound_and_no_evidence(study):
    _, _, results = study
    assert [row["method"] for row in results["rows"]] == ["before", *["retrain"] * 3, ROWS[2]]
    for row in results["rows"]:
        assert row["diverged"] is False
        assert 100 < row["nelbo_retain"] < 800
        assert 0 <= row["fratio"] <= 1
        assert {row[name] for name in EVIDENCE_METRICS} == {None}
        assert not row.keys() & {*RESIDUAL_METRICS}


def test_table_and_page_leave_the_evidence_out(study):
    folder, _, results = study
    table = terminal_table(results)
    assert "rho" not in table
    assert "nelbo" in table.lower()
    assert (folder / "report.html").stat().st_size > 10_000
    assert not (folder / "evidence").exists()


def test_finished_study_is_left_alone(study):
    folder, options, results = study
    before = (folder / "results.json").read_bytes()
    again = tiny_study.run_tiny(folder, methods=ROWS, seeds=1, **options)
    assert again["rows"] == results["rows"]
    assert (folder / "results.json").read_bytes() == before


def test_note_says_bits_per_dimension_of_every_method(study):
    _, _, results = study
    first, *lines = note(results).splitlines()
    assert first.startswith("bits per dimension")
    assert [line.split(":")[0].strip() for line in lines] == [*ROWS]
    nats = results["rows"][0]["nelbo_retain"]
    assert lines[0].split()[1] == f"{nats / (64 * 0.693147):.3f},"


def test_note_has_a_dash_for_a_method_that_diverged():
    entries = [{"method": "before", "metric": "nelbo_retain", "mean": None}]
    results = {"config": {"model": {"image_shape": [8, 8, 1]}}, "summary": entries}
    assert note(results).splitlines()[1:] == ["  before: -, -"]


def test_all_means_the_methods_that_can_work_without_an_encoder():
    names = able(MNIST, {method.title: method for method in METHODS})
    assert {"before", "retrain", "gradient_surgery", "redirect_diffusion", "siss"} <= {*names}
    assert "gradient_surgery-window" in names
    assert not {"redirect_flow", "scrub", "feature_unlearning"} & {*names}
