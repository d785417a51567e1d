"""How a request ends: released or undone, purged, closed."""

import json
import shutil

import pytest
from removal_desk import NUMBER, damage

from gsu_jax.removal import read_request, verification
from gsu_jax.removal.service import Case, close, plan, purge, release, report, run, undo
from gsu_jax.removal.service import verify_case as verify
from gsu_jax.storage import CheckpointError


def test_release_and_undo_move_the_current_checkpoint(verified):
    with pytest.raises(ValueError, match="--although-failed"):
        release(_failed(verified).case())
    assert release(verified.case(), although_failed=True) == verified.case().published
    assert verified.case().current["weights"] == verified.case().checkpoint
    release(verified.case(), although_failed=True)  # again: nothing more
    assert undo(verified.case(), reason="a customer complained") == verified.base
    undo(verified.case())
    assert verified.case().current["checkpoint"] == str(verified.base)
    assert verified.types[5:] == ["verified", "released", "undone"]
    with pytest.raises(ValueError, match="'undone'"):
        release(verified.case())
    assert (verified.folder / f"weights-{NUMBER}").is_dir()


def test_next_request_starts_from_the_current_checkpoint(verified):
    release(verified.case(), although_failed=True)
    other = Case(verified.home, "2026-015")
    given = {"request": '"2026-015"', "what": '{ class = "2" }'}
    with pytest.raises(ValueError, match="is not the current one"):
        plan(read_request(verified.write(**given)), other, modules=verified.folder)
    request = read_request(verified.write(**given, checkpoint=f'"weights-{NUMBER}"'))
    plan(request, other, modules=verified.folder)
    assert other.stage == "planned"
    assert verified.is_whole


def test_request_planned_before_another_was_released_cannot_bring_its_images_back(verified):
    case = verified.case()
    case.point_to(verified.folder / "weights-other", "a" * 64)
    with pytest.raises(ValueError, match="weights-other: released, it would bring back"):
        release(case, although_failed=True)
    assert case.current["weights"] == "a" * 64
    assert case.stage == "verified"


def test_later_verification_takes_no_failed_line_back(verified):
    case = _failed(verified).case()
    lines = verification({"V2 share": "PASSED"}, configuration="c" * 64)
    case.ledger.append("verified", NUMBER, case.key("verifier"), lines, checkpoint=case.checkpoint)
    with pytest.raises(ValueError, match="FAILED V2 share: undo it"):
        release(verified.case())
    release(verified.case(), although_failed=True)
    record = json.loads(report(verified.case()).with_name("report.json").read_text())
    assert (record["verdict"], record["decides"]) == ("FAILED", "V2 share")
    told = record["not_shown"]
    assert any(said.startswith("V2 share") and said.endswith("FAILED") for said in told)
    assert "tries: 1 runs and 3 verifications, which no line corrects for" in told
    assert "V2 share: FAILED" in close(verified.case()).predicate["residualRisk"]


def test_released_request_is_not_refused(verified):
    release(verified.case(), although_failed=True)
    with pytest.raises(ValueError, match="was released: close it, or undo it first"):
        close(verified.case(), refused="it was a mistake")
    assert verified.case().stage == "released"
    assert (verified.case().folder / "private.json").is_file()


def test_request_is_not_planned_without_the_case_that_led_to_its_checkpoint(verified):
    release(verified.case(), although_failed=True)
    shutil.rmtree(verified.case().folder)
    changed = {"request": '"2026-015"', "checkpoint": f'"weights-{NUMBER}"'}
    request = read_request(verified.write(**changed, what='{ class = "2" }'))
    with pytest.raises(ValueError, match="is gone, and request 2026-014 led to this checkpoint"):
        plan(request, Case(verified.home, "2026-015"), modules=verified.folder)


def test_what_shows_the_images_is_for_its_owner_alone(verified):
    for name in ("private.json", "forget.png"):
        assert (verified.case().folder / name).stat().st_mode & 0o077 == 0


def _failed(desk):
    """The same desk, whose last verification has a line that FAILED."""
    case = desk.case()
    lines = verification({"V2 share": "FAILED"}, configuration="c" * 64)
    key, checkpoint = case.key("verifier"), case.checkpoint
    case.ledger.append("verified", NUMBER, key, lines, checkpoint=checkpoint)
    return desk


def test_purge_removes_what_shows_the_images_and_names_it_once(verified):
    files = {p.name for p in (verified.home / "cases" / NUMBER).iterdir()}
    assert files >= {"forget.png", "private.json", "models"}
    items = purge(verified.case())
    assert items == ["pictures", "list of the images", "models and judge of the verification"]
    left = {p.name for p in (verified.home / "cases" / NUMBER).iterdir()}
    assert left == {"case.json", "verification.json", "exclusions.json", ".lock"}
    assert purge(verified.case()) == []
    assert verified.case().last("purged").predicate == {"items": items}
    with pytest.raises(ValueError, match="purged"):
        verify(verified.case())


def test_purge_of_the_old_checkpoint_waits_for_the_release(verified):
    with pytest.raises(ValueError, match="in use until"):
        purge(verified.case(), original=True)
    assert verified.base.is_dir()
    release(verified.case(), although_failed=True)
    whole = verified.copy(verified.folder.with_name("damaged")).case()
    damage(whole.published)
    with pytest.raises(CheckpointError):
        purge(whole, original=True)  # it would be the only whole one
    assert whole.base.is_dir()
    assert "old checkpoint" in purge(verified.case(), original=True)
    assert not verified.base.exists()
    with pytest.raises(CheckpointError, match=r"cannot be undone: .*weights was purged"):
        undo(verified.case())


def test_close_purges_destroys_the_key_and_ends_the_request(verified):
    with pytest.raises(ValueError, match="to close it must be"):
        close(verified.case())
    release(verified.case(), although_failed=True)
    event = close(verified.case())
    assert event.hash == verified.case().ledger.head
    assert event.predicate["commitmentKey"] == "destroyed"
    assert "V3 evidence: NOT RUN" in event.predicate["residualRisk"]
    assert not list((verified.home / "secrets").iterdir())
    assert verified.is_whole
    assert close(verified.case()) == event
    with pytest.raises(ValueError, match="is closed: it cannot be refused any more"):
        close(verified.case(), refused="it was a mistake")
    for step in (run, verify, release, undo, purge):
        with pytest.raises(ValueError, match="closed: nothing may follow"):
            step(verified.case())


def test_request_is_refused_with_a_reason(desk):
    desk.plan()
    event = close(desk.case(), refused="it was never in the data")
    assert (event.type, event.predicate["reason"]) == ("refused", "it was never in the data")
    assert not list((desk.home / "secrets").iterdir())
