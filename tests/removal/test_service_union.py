"""The union of a series from the original checkpoint: a case of its own, which releases nothing."""

import contextlib

import pytest
from desk_program import moments
from removal_series import (
    SeriesDesk,
    closed_form,
    digit,
    labels,
    retrain,
    retrain_anew,
    unlearning_by,
)

from gsu_jax.removal.service import close, purge, release, series, undo


class Cut(BaseException):
    """A kill that leaves the process alive."""


@pytest.fixture(autouse=True)
def _closed_form():
    with closed_form(), unlearning_by(retrain_anew):
        yield


@pytest.fixture(scope="module")
def two_desk(tmp_path_factory):
    desk = SeriesDesk(tmp_path_factory.mktemp("union") / "desk")
    with closed_form():
        for name in "12":
            desk.answer(retrain, **digit(name))
    return desk


@pytest.fixture
def two(two_desk, tmp_path):
    return two_desk.copy(tmp_path / "copy")


def with_union(desk):
    return series(desk.request(2), union=True)


def union_of(desk):
    return desk.request(2).other("r-2-union")


def test_union_is_a_case_of_its_own_and_releases_nothing(two):
    before = two.request(1).current
    found = with_union(two)
    case = union_of(two)
    assert two.request(1).current == before
    assert (case.stage, case.original.path) == ("ran", two.base)
    assert labels(case.split.train.forget.images) == [1, 2]
    assert found.union["request"] == "r-2-union"
    assert set(found.union["left"]["evidence"]) == {"r-1", "r-2"}
    assert found.recommendation.startswith(("release the union", "stay with the series"))
    events = len(case.ledger.events())
    assert with_union(two).union == found.union
    assert len(case.ledger.events()) == events
    assert two.is_whole


def test_union_has_the_stop_rule_of_the_last_request(tmp_path):
    desk = SeriesDesk(tmp_path / "desk")
    desk.answer(retrain, **digit("1"))
    desk.answer(retrain, **digit("2"), stop_at_budget="true")
    with_union(desk)
    assert union_of(desk).facts["stop_at_budget"] is True


def test_released_union_takes_the_place_of_the_series_and_undo_gives_it_back(two):
    series_end = two.request(2).current
    with_union(two)
    two.release("r-2-union")
    case = union_of(two)
    assert case.current == {"checkpoint": str(case.published), "weights": case.checkpoint}
    assert case.last("released").predicate["replaces"] == series_end["weights"]
    later = two.planned(**digit("3"))
    assert [each.number for each in later.earlier] == ["r-2-union"]
    assert labels(later.split.train.retain.images) == [0, 4, 5, 6, 7, 8, 9]
    undo(union_of(two))
    assert two.request(1).current == series_end


def test_union_of_some_requests_cannot_take_the_place_of_more(two):
    with_union(two)
    two.answer(retrain, **digit("3"))
    with pytest.raises(ValueError, match="released, it would bring back"):
        two.release("r-2-union")


def test_request_is_open_as_long_as_a_union_has_its_images(two):
    with_union(two)
    with pytest.raises(ValueError, match="r-2-union too: close that first"):
        close(two.request(1))
    close(union_of(two), refused="the series stays")
    assert not (union_of(two).folder / "private.json").exists()
    assert close(two.request(1)).type == "closed"


def test_union_is_refused_where_it_would_bring_images_back(two):
    with pytest.raises(ValueError, match="is the only one"):
        series(two.request(1), union=True)
    purge(two.request(1))
    before = two.snapshot()
    with pytest.raises(ValueError, match="r-1 was purged"):
        with_union(two)
    assert two.snapshot() == before


# A coroutine of orbax that is cut is never awaited.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_series_that_is_cut_at_any_moment_is_repeated(two_desk, tmp_path):
    expected = None
    for moment in range(1, 100):
        desk = two_desk.copy(tmp_path / str(moment))
        current, left = desk.request(1).current, [moment]

        def cut(left=left):
            left[0] -= 1
            if left[0] == 0:
                raise Cut

        try:
            with contextlib.ExitStack() as stack:
                for patch in moments(cut):
                    stack.enter_context(patch)
                with_union(desk)
        except Cut:
            assert desk.is_whole
            assert desk.request(1).current == current
        found = with_union(desk).union["left"]
        expected = expected or found
        assert found == expected
        assert desk.is_whole
        assert [e.type for e in union_of(desk).events] == [
            "received",
            "identified",
            "planned",
            "ran",
        ]
        assert [e.type for e in desk.request(2).events].count("remeasured") == 1
        if left[0] > 0:
            break
    assert moment > 8


def test_release_waits_for_a_verification_of_the_union(two):
    with_union(two)
    with pytest.raises(ValueError, match="must be 'verified'"):
        release(union_of(two))
