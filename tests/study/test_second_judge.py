"""A second judge beside the first: its own checkpoint, gate and columns."""

import json

import pytest
from tiny_study import TIMES, read, run_tiny, tiny_config

from gsu_jax import GradientAscent
from gsu_jax.metrics import CORRECTED_METRICS, SECOND_METRICS
from gsu_jax.models import MLPClassifierConfig
from gsu_jax.study import Recipe, _judge, _judged, _study, load

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("plain_report")]

SECOND = {
    "second_judge": MLPClassifierConfig(widths=(8,)),
    "second_judge_gate": 0.2,
    "second_judging": Recipe(epochs=2, batch_size=64, learning_rate=3e-3),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory, finished):
    """The finished study, extended by a second judge."""
    folder = tmp_path_factory.mktemp("judged") / "out"
    run_tiny(folder, models_from=finished, **SECOND)
    return folder


def without_second(row):
    return {name: value for name, value in row.items() if name not in SECOND_METRICS}


def without_times(row):
    return {name: value for name, value in row.items() if name not in TIMES}


def test_record_of_a_study_with_one_judge_does_not_speak_of_a_second():
    assert not [name for name in tiny_config().record() if "second" in name]
    assert not [name for name in tiny_config(second_judge_gate=0.5).record() if "second" in name]
    record = tiny_config(**SECOND).record()
    assert record["second_judge"]["type"] == "MLPClassifierConfig"
    assert record["second_judging"]["epochs"] == 2


def test_rows_have_what_both_judges_see_and_the_reference_their_errors(judged):
    results = read(judged)
    for row in results["rows"]:
        assert row.keys() >= {*SECOND_METRICS, *CORRECTED_METRICS}
        known = [row[name] for name in SECOND_METRICS]
        assert known == [None] * 5 if row["diverged"] else None not in known
    second = results["reference"]["second_judge"]
    assert second["judge_accuracy"] >= 0.2
    assert second["judge_errors"]["hits"][1] == results["reference"]["judge_errors"]["hits"][1]
    assert {e["metric"] for e in results["summary"]} >= {*SECOND_METRICS}


def test_second_judge_has_another_seed_and_a_checkpoint_of_its_own(judged):
    assert (judged / "checkpoints" / "second_judge-0").is_dir()
    # Both have the shape of the tests' quick judge, and other weights.
    first, second = (load(judged, name).params for name in ("judge", "second_judge"))
    assert abs(first - second).max() > 0.01


def test_a_study_that_had_one_judge_gets_a_second_without_other_work(judged, copy, monkeypatch):
    for name in ("train_generators", "unlearn"):
        monkeypatch.setattr(_study, name, None)
    monkeypatch.setattr(_judge, "evaluate", None)
    before = read(copy)["rows"]
    run_tiny(copy, **SECOND)
    rows = read(copy)["rows"]
    assert [without_second(row) for row in rows] == before
    assert [without_times(row) for row in rows] == [without_times(r) for r in read(judged)["rows"]]


def test_finished_rows_are_judged_again_once(judged, monkeypatch):
    monkeypatch.setattr(_judged, "train_judge", None)
    results = (judged / "results.json").read_bytes()
    run_tiny(judged, **SECOND)
    assert (judged / "results.json").read_bytes() == results


def test_rows_of_an_earlier_release_get_the_corrected_share_from_the_judge_alone(copy, finished):
    results = read(copy)
    for row in results["rows"]:
        for name in CORRECTED_METRICS:
            del row[name]
    (copy / "results.json").write_text(json.dumps(results))
    run_tiny(copy)
    assert read(copy)["rows"] == read(finished)["rows"]


def test_another_second_judge_or_none_is_refused(judged, files):
    before = files(judged)
    for changes in ({}, SECOND | {"second_judge_gate": 0.3}):
        with pytest.raises(ValueError, match="another config:\n  second_judge"):
            run_tiny(judged, **changes)
    assert files(judged) == before


def test_second_judge_below_its_gate_stops_the_study(tmp_path):
    with pytest.raises(ValueError, match=r"second_judge_gate .*got \d+\.\d%.*99\.9%"):
        run_tiny(tmp_path / "out", **SECOND | {"second_judge_gate": 0.999})
    made = {path.name for path in (tmp_path / "out" / "checkpoints").iterdir()}
    assert made == {"judge-0", "second_judge-0"}


def test_a_study_whose_second_judge_failed_goes_on_without_it(copy):
    before = read(copy)["rows"]
    with pytest.raises(ValueError, match="second_judge_gate"):
        run_tiny(copy, **SECOND | {"second_judge_gate": 0.999})
    assert read(copy)["rows"] == before
    assert "second_judge" not in run_tiny(copy)["config"]
    assert run_tiny(copy, **SECOND)["rows"][0]["fratio_second"] is not None


def test_more_methods_extend_a_study_with_two_judges(judged):
    faster = GradientAscent(label="faster", learning_rate=1e-3)
    rows = run_tiny(judged, methods=(faster,), **SECOND)["rows"]
    assert [row["fratio_second"] is None for row in rows if row["method"] == "faster"] == [
        False
    ] * 2


def test_listed_images_have_the_second_judges_fid_alone(tmp_path):
    options = {"forget": "indices:0,5", "methods": ("before",), "seeds": 1}
    (row,) = run_tiny(tmp_path / "out", **options, **SECOND)["rows"]
    assert row["fid_retain_second"] > 0
    assert row["fratio_second"] is row["fratio_second_corrected"] is row["fratio_corrected"] is None


def test_a_second_judge_must_be_a_classifier():
    with pytest.raises(TypeError, match=r"second_judge .*MLPClassifierConfig.*int"):
        tiny_config(second_judge=3)
