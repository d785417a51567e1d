"""A clock that was set back: no step until somebody says so, and no deadline is met by it."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from removal_desk import NUMBER, check_desk
from removal_events import PREDICATES, Office

from gsu_jax.removal import Ledger, LedgerError, clock_notes, load_key, read_request, verify
from gsu_jax.removal.service import Case, deadline_of, plan

STEPS = {  # name -> the desk before it, and the command
    "plan": ("plan", ("plan", "request.toml", "--project", "faces")),
    "run": ("run", ("run", NUMBER)),
    "verify": ("verify", ("verify", NUMBER)),
    "release": ("release", ("release", NUMBER)),
    "undo": ("close", ("undo", NUMBER)),
    "purge": ("close", ("purge", NUMBER)),
    "close": ("close", ("close", NUMBER)),
    "refuse": ("run", ("close", NUMBER, "--refuse", "a test")),
}
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def at(office, moment, **given):
    """The office with a clock that stands."""
    ledger = Ledger(office.location, "faces", clock=lambda: moment, **given)
    office.ledger = ledger
    return office


def write_ahead(desk, days=30):
    """Another request enters the ledger of a desk on a machine whose clock is ahead."""
    ahead = datetime.now(UTC) + timedelta(days=days)
    ledger = Ledger(desk.home / "ledger.sqlite", "faces", clock=lambda: ahead)
    return ledger.append("received", "2026-999", load_key(desk.home / "keys", "operator"))


@pytest.mark.parametrize("name", STEPS)
def test_step_after_the_clock_was_set_back_changes_nothing_until_it_is_agreed_to(
    desks, quick, say, tmp_path, monkeypatch, name
):
    before, words = STEPS[name]
    desk = desks[before].copy(tmp_path / "desk")
    monkeypatch.chdir(desk.folder)
    ahead = write_ahead(desk)
    files, paths = desk.snapshot(), desk.paths
    status, printed, errors = say(*words, "--folder", desk.home)
    assert (status, printed) == (2, "")
    assert errors.count("\n") == 1
    assert f"is before event {ahead.seq} of {ahead.time}; set the clock right" in errors
    assert "--although-clock-set-back" in errors
    assert (desk.snapshot(), desk.paths) == (files, paths)
    status, _, errors = say(*words, "--folder", desk.home, "--although-clock-set-back")
    assert (status, errors) == (0, "")
    check_desk(desk)
    ledger = desk.home / "ledger.sqlite"
    status, printed, _ = say("ledger", "verify", ledger, "--keys", desk.home / "keys")
    assert status == 0
    assert printed.count("its writer said that the clock was set back") == 1


def test_event_after_the_clock_was_set_back_says_so_and_stays_in_order(office):
    at(office, NOON).append("received")
    earlier = NOON - timedelta(days=3)
    at(office, earlier, although_clock_set_back=True)
    event = office.append("identified")
    assert (event.seq, event.time[:10], event.is_after_set_back) == (2, "2026-11-28", True)
    assert verify(office.ledger, office.public_keys) == []
    assert clock_notes(office.ledger, now=NOON) == [
        "event 2 of 2026-11-28T12:00:00 follows event 1 of 2026-12-01T12:00:00: its writer said "
        "that the clock was set back"
    ]
    # From here on the clock is compared with the last event.
    at(office, earlier + timedelta(hours=1)).append("planned")
    assert not office.ledger.events()[2].is_after_set_back
    with pytest.raises(LedgerError, match="event 3"):
        at(office, earlier).append("received", "2026-015")


def test_machine_whose_clock_is_before_the_last_event_is_told_when_it_verifies(office, say):
    at(office, datetime.now(UTC) + timedelta(days=1)).append("received")
    words = ("ledger", "verify", office.location, "--keys", office.folder / "keys")
    status, printed, errors = say(*words)
    assert (status, errors) == (0, "")
    assert printed.splitlines()[-1].endswith("the time of this clock")
    assert clock_notes(office.ledger, now=NOON + timedelta(days=10**5)) == []


def test_refused_end_leaves_the_secret_of_the_request(office):
    office.keys.create(NUMBER)
    at(office, NOON).append("received")
    with pytest.raises(LedgerError, match="set the clock right"):
        at(office, NOON - timedelta(days=1)).append("closed")
    office.keys.load(NUMBER)


def test_deadline_that_passed_by_the_ledger_is_refused_whatever_the_clock_says(
    desk, say, monkeypatch
):
    day = datetime.now(UTC).date() + timedelta(days=10)
    desk.write(deadline=str(day))
    monkeypatch.chdir(desk.folder)
    write_ahead(desk)
    before = desk.snapshot()
    words = ("plan", "request.toml", "--folder", desk.home, "--although-clock-set-back")
    status, _, errors = say(*words)
    assert (status, desk.snapshot()) == (2, before)
    assert f"deadline must not have passed, got {day}, and the last event" in errors


@pytest.mark.parametrize("zone", ["AHEAD-14", "BEHIND+12"])  # one of them has another day
def test_deadline_is_a_day_in_utc_wherever_the_machine_stands(desk, quick, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        day = datetime.now(UTC).date()
        desk.plan(deadline=str(day))
        assert deadline_of(desk.case()) == f"{day}: not answered yet"
        before = day - timedelta(days=1)
        with pytest.raises(ValueError, match=f"got {before}, and today is {day}"):
            read_request(desk.write(deadline=str(before)))
        request = read_request(desk.file, today=before)
        with pytest.raises(ValueError, match=f"got {before}, and the last event .* is of {day}"):
            plan(request, desk.case(), modules=desk.folder)
    finally:
        monkeypatch.undo()
        time.tzset()


DECIDED = ("undone", "refused")
TO_RELEASE = ("identified", "planned", "ran", "verified", "released")


@pytest.mark.parametrize(
    ("types", "hours", "expected"),
    [
        (TO_RELEASE, (1, 2, 3, 4, 24 * 29), "released on 2026-12-30, in time"),
        (TO_RELEASE, (1, 2, 3, 4, 24 * 30), "released on 2026-12-31, late"),
        (("refused",), (24,), "refused on 2026-12-02, in time"),
        ((*TO_RELEASE, "undone"), (1, 2, 3, 4, 5, 24 * 40), "not answered yet, late"),
        (TO_RELEASE, (1, 2, 24 * 40, -2, -1), "cannot be told, since the clock was set back"),
    ],
)
def test_deadline_is_judged_by_the_times_of_the_ledger(tmp_path, types, hours, expected):
    office = at(Office(tmp_path), NOON)
    office.append("received", predicate=PREDICATES["received"] | {"deadline": "2026-12-30"})
    for type, hour in zip(types, hours, strict=True):
        at(office, NOON + timedelta(hours=hour), although_clock_set_back=True)
        given = {"checkpoint": "b" * 64} if type == "undone" else {}
        office.append(type, predicate={"reason": "a test"} if type in DECIDED else None, **given)
    found = deadline_of(Case(tmp_path, NUMBER, ledger=office.location))
    assert found.startswith(f"2026-12-30: {expected}")


def test_request_without_a_deadline_is_never_late(office):
    office.append("received", predicate={"claim": "rows"})
    assert deadline_of(Case(office.folder, NUMBER, ledger=office.location)) == ""
