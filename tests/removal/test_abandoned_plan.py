"""A plan that was killed and is given up: its request can be ended, and nothing shows images."""

import pytest
from desk_program import cut_at
from removal_desk import NUMBER

from gsu_jax.removal.service import close, purge

SHOWS = ("private.json", "forget.png")


def shown(desk):
    folder = desk.home / "cases" / NUMBER
    return [name for name in SHOWS if (folder / name).exists()]


def cut_plans(desk, tmp_path, **changed):
    """A desk for each moment at which a plan can be killed."""
    for moment in range(1, 100):
        killed = desk.copy(tmp_path / str(moment))
        if not cut_at(moment, lambda killed=killed: killed.plan(**changed)):
            break
        yield killed
    assert moment > 6


@pytest.mark.parametrize("end", [lambda case: close(case, refused="a test"), purge])
def test_plan_that_was_killed_at_any_moment_is_cleaned_up(desks, quick, tmp_path, end):
    some = 0
    for desk in cut_plans(desks["plan"], tmp_path):
        some += bool(shown(desk))
        if desk.case("faces").stage and (desk.case().facts_path.is_file() or end is not purge):
            end(desk.case())
            assert desk.is_whole
        assert shown(desk) == []
        if end is not purge and desk.case("faces").stage:
            assert list((desk.home / "secrets").iterdir()) == []
    assert some > 0


def test_second_plan_that_was_killed_at_any_moment_is_cleaned_up(desks, quick, tmp_path):
    for desk in cut_plans(desks["run"], tmp_path, epochs="2"):
        assert close(desk.case(), refused="a test").type == "refused"
        assert shown(desk) == []
        assert desk.is_whole
