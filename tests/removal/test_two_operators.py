"""Two operators, each with a folder of cases, on one ledger: nobody overtakes the other."""

from removal_desk import check_race, race_two_runs


def test_of_two_runs_at_once_one_is_taken_and_the_other_is_told_what_to_do(
    desk, tmp_path, monkeypatch
):
    desk.plan()
    location = desk.home / "ledger.sqlite"
    said = race_two_runs(desk, tmp_path / "other", location, monkeypatch)
    check_race(said, desk, location)
