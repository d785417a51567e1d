"""What a study continues from: finished, extended, damaged and stopped runs."""

import shutil

import pytest
from tiny_study import read, run_tiny, without_residuals, without_times

from gsu_jax import GradientAscent
from gsu_jax.study import _checkpointed_runs, _study

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("plain_report")]


@pytest.mark.parametrize("fewer", [{}, {"methods": ("before",), "seeds": 1}])
def test_finished_study_started_again_changes_nothing(copy, no_work, files, fewer):
    before = files(copy)
    assert len(run_tiny(copy, **fewer)["rows"]) == 8
    assert files(copy) == before


def test_more_methods_extend_a_study_and_keep_its_rows(copy):
    before = read(copy)["rows"]
    # The methods of the first run are not named: they come back from its config.
    run_tiny(copy, methods=(GradientAscent(label="faster", learning_rate=1e-3),))
    rows = read(copy)["rows"]
    assert rows[:8] == before
    assert [(row["method"], row["seed"]) for row in rows[8:]] == [("faster", 0), ("faster", 1)]
    assert "faster" in (copy / "report.html").read_text()


def test_more_seeds_extend_a_study_and_keep_its_rows(copy):
    before = read(copy)["rows"]
    run_tiny(copy, methods=("before",), seeds=3)
    results = read(copy)
    assert without_residuals([row for row in results["rows"] if row["seed"] < 2]) == before
    added = [row["method"] for row in results["rows"] if row["seed"] == 2]
    assert added == ["before", "retrain", "gradient_ascent", "diverging"]
    assert results["config"]["seeds"] == 3


def test_larger_ensemble_extends_retraining_alone_and_resumes_where_it_stopped(copy, monkeypatch):
    before = read(copy)["rows"]
    train_epoch, done = _checkpointed_runs.train_epoch, []

    def stop_after_two(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return train_epoch(*arguments)

    monkeypatch.setattr(_checkpointed_runs, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(_checkpointed_runs, "train_epoch", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(copy, ensemble=3)
    done[:] = [1]  # one more epoch of three
    run_tiny(copy)  # the larger ensemble comes back from the config of the stopped run
    results = read(copy)
    assert without_residuals([row for row in results["rows"] if row["seed"] < 2]) == before
    assert [row["method"] for row in results["rows"] if row["seed"] == 2] == ["retrain"]
    assert (results["config"]["seeds"], results["config"]["ensemble"]) == (2, 3)


def test_report_older_than_the_results_is_written_again(copy):
    report = copy / "report.html"
    report.write_text("of an earlier state")
    (copy / "results.json").touch()
    run_tiny(copy)
    assert "gradient_ascent" in report.read_text()


def test_report_is_written_without_pictures_and_unlearned_models(copy):
    results = (copy / "results.json").read_bytes()
    shutil.rmtree(copy / "samples")
    shutil.rmtree(copy / "checkpoints" / "gradient_ascent-1")
    (copy / "report.html").unlink()
    run_tiny(copy)
    assert (copy / "report.html").exists()
    assert (copy / "samples" / "gradient_ascent-0.png").exists()
    assert (copy / "results.json").read_bytes() == results


@pytest.mark.parametrize(
    ("part", "row"),
    [
        ("judge-0", ("before", 0)),
        ("before-1", ("before", 1)),
        ("gradient_ascent-0", ("gradient_ascent", 0)),
    ],
)
def test_damaged_checkpoint_is_refused_and_deleting_it_repairs_the_study(
    copy, flip_a_bit, forget_row, part, row
):
    before = without_times(read(copy))
    forget_row(copy, *row)
    folder = copy / "checkpoints" / part
    flip_a_bit(folder)
    with pytest.raises(ValueError, match=f"{part} is damaged.* delete this folder"):
        run_tiny(copy)
    shutil.rmtree(folder)
    run_tiny(copy)
    assert without_times(read(copy)) == before


def test_lost_results_are_made_again_from_the_checkpoints(copy, monkeypatch):
    before = read(copy)
    (copy / "results.json").unlink()
    monkeypatch.setattr(_checkpointed_runs, "train_epoch", None)
    monkeypatch.setattr(_study, "unlearn", None)
    run_tiny(copy)
    assert read(copy)["rows"] == before["rows"]


# Models of another study


def test_models_of_the_same_request_are_borrowed_with_their_times(
    finished, tmp_path, forget_row, monkeypatch
):
    monkeypatch.setattr(_checkpointed_runs, "train_epoch", None)
    changes = {"methods": ("before", "retrain"), "experiment": "other"}
    run_tiny(tmp_path, models_from=finished, **changes)
    assert read(tmp_path)["rows"] == read(finished)["rows"][:4]
    # From then on the other study is not needed.
    forget_row(tmp_path, "retrain", 1)
    run_tiny(tmp_path, **changes)
    assert read(tmp_path)["rows"] == read(finished)["rows"][:4]


def test_another_request_borrows_all_models_but_the_retrained_ones(finished, tmp_path, events):
    run_tiny(tmp_path, methods=("before", "retrain"), models_from=finished, forget="2")
    parts = {event["part"] for event in events(tmp_path, "borrowed")}
    assert parts == {"judge-0", "before-0", "before-1"}
    refused = events(tmp_path, "not borrowed")
    assert [event["part"] for event in refused] == ["retrain-0", "retrain-1"]
    assert all("forget: '1' there, '2' now" in event["reason"] for event in refused)
    assert {event["name"] for event in events(tmp_path, "epoch")} == {"retrain"}
