"""Requests one after the other: what is left of the earlier ones, and what may not come back."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from removal_series import (
    SeriesDesk,
    closed_form,
    digit,
    labels,
    nothing,
    restore,
    retrain,
    unlearning_by,
    worsen,
)

from gsu_jax.audit import Verdict
from gsu_jax.removal.service import left_of, purge, report, rise_of, run, series, undo
from gsu_jax.removal.service._advice import Standing, advise
from gsu_jax.removal.service._lines import lines_of
from gsu_jax.removal.service._resurgence import no_resurgence
from gsu_jax.storage import CheckpointError, remove


@pytest.fixture(autouse=True)
def _closed_form():
    with closed_form():
        yield


def answered(folder, *methods):
    """Requests for the images of the classes 1, 2, 3, each answered by a method."""
    desk = SeriesDesk(folder)
    for name, method in zip("123", methods, strict=False):
        desk.answer(method, **digit(name))
    return desk


@pytest.fixture(scope="module")
def two_desk(tmp_path_factory):
    with closed_form():
        return answered(tmp_path_factory.mktemp("two") / "desk", retrain, retrain)


@pytest.fixture
def two(two_desk, tmp_path):
    """Two requests that were answered by retraining."""
    return two_desk.copy(tmp_path / "copy")


def evidence(desk, step, **settings):
    return series(desk.request(step), **settings).left["evidence"]


def test_entry_is_0_at_its_zero_and_1_at_the_original():
    assert left_of(-30.0, original=-20.0, zero=-30.0) == 0
    assert left_of(-20.0, original=-20.0, zero=-30.0) == 1
    assert left_of(-35.0, original=-20.0, zero=-30.0) == -0.5
    assert left_of(-20.0, original=-20.0, zero=-20.0) == 1  # the step lowered nothing
    assert np.isnan(left_of(-25.0, original=-20.0, zero=-20.0))


def test_resurgence_is_the_largest_rise_after_the_own_step():
    nan = np.nan
    left = np.array([[0.1, 0.4, 0.2], [nan, 0.3, 0.1], [nan, nan, 0.0]])
    np.testing.assert_allclose(rise_of(left), [0.3, 0.0, nan])


@pytest.mark.parametrize("models", [0, 3])
def test_method_that_does_nothing_leaves_everything(tmp_path, models):
    desk = answered(tmp_path / "desk", nothing, nothing)
    left = evidence(desk, 2, models=models)
    np.testing.assert_allclose(left[np.triu_indices(2)], 1)
    assert np.isnan(left[1, 0])


def test_method_that_retrains_leaves_nothing(two):
    found = series(two.request(2), models=4)
    assert found.zero == "retrained models"
    assert np.abs(found.left["evidence"][np.triu_indices(2)]).max() < 0.25
    assert max(found.resurgence.values()) < 0.25
    assert found.recommendation.startswith("go on in series")


def test_step_that_restores_is_seen_as_resurgence(tmp_path):
    desk = answered(tmp_path / "desk", retrain, retrain, restore)
    found = series(desk.request(3))
    assert found.zero == "right after its own step"
    np.testing.assert_allclose(found.left["evidence"][:2, 2], 1)
    assert found.resurgence == pytest.approx({"r-1": 1, "r-2": 1})
    assert "--union" in found.recommendation


def line_of(desk, step):
    subject = SimpleNamespace(case=desk.request(step), samples=500, models=0)
    return no_resurgence(subject)[0]


def test_line_of_a_later_request_fails_if_an_earlier_one_comes_back(two):
    assert line_of(two, 2).verdict == Verdict.PASSED
    two.answer(restore, **digit("3"))
    line = line_of(two, 3)
    assert (line.verdict, round(line.statistic, 3)) == (Verdict.FAILED, 1)


def test_line_is_of_later_requests_alone(two):
    names = [[test.name for test in lines_of(two.request(step))] for step in (1, 2)]
    assert names[1] == [*names[0], "V15 series"]


def test_later_request_retains_nothing_that_an_earlier_one_removed(two):
    split = two.request(2).split
    assert labels(split.train.forget.images) == [2]
    assert labels(split.train.retain.images) == [0, 3, 4, 5, 6, 7, 8, 9]
    assert set(split.test.retain.attributes["label"]) == {0, 3, 4, 5, 6, 7, 8, 9}
    assert two.request(2).facts["retained"] == len(split.train.retain)
    # A list of images leaves the others of their class.
    case = two.planned(what="{ ids = [0, 1] }", claim='"rows"')
    assert labels(case.split.train.retain.images) == [0, 3, 4, 5, 6, 7, 8, 9]


def test_images_stay_out_after_their_list_was_purged(two):
    purge(two.request(1))
    assert labels(two.planned(**digit("3")).split.train.retain.images) == [0, 4, 5, 6, 7, 8, 9]
    path = two.request(1).folder / "exclusions.json"
    path.write_text(path.read_text().replace("payload", "Payload"))
    with pytest.raises(ValueError, match="exclusions"):
        _ = two.request(3).split
    path.unlink()
    with pytest.raises(ValueError, match="might be retained"):
        _ = two.request(3).split


def test_column_that_was_measured_outlives_the_purge(two):
    before = evidence(two, 2)
    purge(two.request(1))
    two.answer(retrain, **digit("3"))
    found = series(two.request(3))
    np.testing.assert_allclose(found.left["evidence"][:2, :2], before)
    assert np.isnan(found.left["evidence"][0, 2])
    assert found.silent == {"r-1": "its list of images was purged"}


def test_drift_grows_from_the_original_and_its_budget_rolls_back(tmp_path):
    desk = answered(tmp_path / "desk", worsen, worsen)
    drift = series(desk.request(2)).drift
    assert 0 < drift[0]["increase"] < drift[1]["increase"]
    before = desk.request(1).current
    desk.planned(**digit("3"), drift_budget=str(1.2 * drift[1]["high"]))
    with unlearning_by(worsen):
        found = run(desk.request(3))
    assert found.utility.high < found.budget
    assert (found.published, found.drift.high > found.drift_budget) == ("", True)
    case = desk.request(3)
    assert case.last("undone").predicate["reason"].startswith("drift budget exceeded")
    assert case.current == before
    assert desk.is_whole
    desk.planned(step=3, **digit("3"), drift_budget="1.0")
    with unlearning_by(worsen):
        again = run(desk.request(3))
    assert again.published
    assert run(desk.request(3)).drift == again.drift  # from the checkpoint


def test_spent_drift_budget_is_refused_unless_the_request_retrains(tmp_path):
    desk = answered(tmp_path / "desk", worsen)
    spent = desk.request(1).last("ran")
    with pytest.raises(ValueError, match=r"drift_budget is spent: .* 0\.0010; .*retrain"):
        desk.planned(**digit("2"), drift_budget="0.001")
    assert (desk.request(2).stage, desk.request(1).last("ran")) == ("", spent)
    assert desk.planned(**digit("2"), drift_budget="0.001", method='"retrain"').stage == "planned"
    assert desk.planned(2, **digit("2"), drift_budget="1.0").stage == "planned"


def test_drift_budget_needs_the_original(two):
    remove(two.base)
    with pytest.raises(CheckpointError):
        two.planned(**digit("3"), drift_budget="0.5")
    assert two.planned(**digit("3")).stage == "planned"
    assert np.isnan(evidence(two, 2)).all()


def test_earlier_request_cannot_be_undone_under_a_later_one(two):
    with pytest.raises(ValueError, match="undo that request first"):
        undo(two.request(1))
    undo(two.request(2))
    undo(two.request(1))
    assert two.request(1).current["checkpoint"] == str(two.base)


def test_remeasured_is_signed_by_the_verifier_once_and_names_no_image(tmp_path):
    desk = SeriesDesk(tmp_path / "desk")
    for ids in ("[359, 1041]", "[777, 1234]"):
        desk.answer(retrain, claim='"rows"', what=f"{{ ids = {ids} }}")
    series(desk.request(2))
    series(desk.request(2))
    assert [e.type for e in desk.request(2).events][4:] == ["verified", "released", "remeasured"]
    assert desk.is_whole
    said = desk.request(2).last("remeasured").predicate
    assert said == json.loads((desk.request(2).folder / "series.json").read_text())
    assert said["requests"] == ["r-1", "r-2"]
    page = report(desk.request(2)).read_text()
    assert "<h2>Series</h2>" in page
    files = [desk.request(step).folder / name
             for step in (1, 2) for name in ("column.json", "exclusions.json")]  # fmt: skip
    text = json.dumps(said) + page + "".join(path.read_text() for path in files)
    words = set(text.replace(",", " ").replace("[", " ").replace("]", " ").split())
    assert words.isdisjoint({"359", "1041", "777", "1234"})


@pytest.mark.parametrize(
    ("own", "union", "why", "said"),
    [
        (Standing(0.4, 0.1, 0.3), Standing(0.1, 0.1, 0), "", "release the union: it leaves"),
        (Standing(0.1, 0.1, 0.0), Standing(0.3, 0.0, 0), "", "stay with the series: the union"),
        (Standing(0.1, 0.1, 0.0), Standing(0.1, 0.0, 0), "", "release the union: both"),
        (Standing(0.1, 0.0, 0.0), Standing(0.1, 0.1, 0), "", "stay with the series: both"),
        (Standing(0.9, 0.1, 0.0), Standing(0.8, 0.1, 0), "", "retrain"),
        (Standing(0.1, 0.1, 0.0), None, "the drift budget is spent", "retrain"),
        (Standing(0.1, 0.1, 0.0), None, "the union: over budget", "stay with the series"),
        (Standing(0.1, 0.1, 0.3), None, "", "compare with the union"),
        (Standing(0.1, 0.1, 0.1), None, "", "go on in series"),
        (Standing(np.nan, 0.1, 0.1), Standing(0.1, 0.1, 0), "", "nothing can be recommended"),
    ],
)
def test_advice_names_what_to_do_and_why(own, union, why, said):
    assert advise(own, union, why).startswith(said)
