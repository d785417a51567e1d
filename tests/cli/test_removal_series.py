"""`gsu-jax removal series`: what it prints of requests one after the other."""

import pytest
from removal_series import SeriesDesk, closed_form, digit, restore, retrain, unlearning_by

from gsu_jax.cli import _removal


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "set")  # the suite has its own
    with closed_form():
        desk = SeriesDesk(tmp_path / "desk")
        desk.answer(retrain, **digit("1"))
        desk.answer(restore, **digit("2"))
        yield desk


def test_series_of_the_current_checkpoint_is_printed(desk, capsys):
    assert _removal.main(["series", "--folder", str(desk.home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("series up to r-2")
    assert [line.split() for line in lines[2:5]] == [
        ["evidence", "1", "2"], ["r-1", "0.00", "1.00"], ["r-2", "1.00"],
    ]  # fmt: skip
    assert "resurgence: 1.00, of request r-1" in lines
    assert lines[-1].startswith("recommended: compare with the union (--union)")


def test_union_is_printed_and_released_by_nobody(desk, capsys):
    before = desk.request(1).current
    with unlearning_by(retrain):
        assert _removal.main(["series", "--union", "--folder", str(desk.home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "union r-2-union, from the original checkpoint, not released:" in lines
    assert lines[-1].startswith("recommended: release the union")
    assert desk.request(1).current == before
