"""A request from its plan to its receipt: what is written, what stays, what is refused."""

import hashlib
import json

import desk_models
import numpy as np
import pytest
from orbax.checkpoint import v1
from removal_desk import LISTED, NUMBER, Desk, weights

from gsu_jax.data import load
from gsu_jax.removal import digest, read_request, verification, weights_digest
from gsu_jax.removal.service import Case, close, plan, purge, release, replay, report, run, undo
from gsu_jax.removal.service import verify_case as verify
from gsu_jax.removal.service._plan import choose
from gsu_jax.storage import CheckpointError, remove, save


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def run_desk(tmp_path_factory):
    """A desk whose request was run; take a copy to change it."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.plan()
    run(desk.case())
    return desk


@pytest.fixture
def ran(run_desk, tmp_path):
    return run_desk.copy(tmp_path / "copy")


@pytest.fixture(scope="module")
def verified_desk(run_desk, tmp_path_factory):
    desk = run_desk.copy(tmp_path_factory.mktemp("verified") / "desk")
    verify(desk.case(), samples=200)
    return desk


@pytest.fixture
def verified(verified_desk, tmp_path):
    return verified_desk.copy(tmp_path / "copy")


def test_plan_writes_three_events_and_says_what_it_takes(desk):
    found = desk.plan()
    assert desk.types == ["received", "identified", "planned"]
    assert (found.facts["count"], found.facts["retained"]) == (146, 1292)
    assert found.quote.steps == 2
    assert found.quote.seconds > 0
    assert -1 <= found.conflict[0] <= 1
    assert {name for name, _, _ in found.power} >= {"share", "copies", "weights", "equivalence"}
    assert (desk.home / "cases" / NUMBER / "forget.png").is_file()


def test_plan_without_a_case_writes_nothing(desk):
    before = desk.snapshot()
    plan(read_request(desk.file), None, modules=desk.folder)
    assert desk.snapshot() == before


def test_plan_again_adds_no_event_until_something_else_is_planned(desk):
    desk.plan()
    desk.plan()
    assert desk.types == ["received", "identified", "planned"]
    desk.plan(method='"fine_tune"')
    assert desk.types == ["received", "identified", "planned", "planned"]
    with pytest.raises(ValueError, match="asked for something else"):
        desk.plan(what='{ class = "2" }')


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("vae", "redirect_flow"),
        ("diffusion", "redirect_diffusion"),
        ("loss_alone", "neg_grad_plus"),
    ],
)
def test_method_auto_is_chosen_by_what_the_model_has(model, method):
    assert choose("auto", getattr(desk_models, model)())[0].name == method


def test_run_publishes_beside_the_old_checkpoint_which_stays(desk):
    before = digest(desk.base)
    desk.plan()
    found = run(desk.case())
    assert digest(desk.base) == before
    assert found.published == str(desk.folder / f"weights-{NUMBER}")
    case = desk.case()
    params = case.load(case.published, case.checkpoint, "the new one")
    assert weights_digest(params) == found.checkpoint == case.checkpoint
    assert run(desk.case()).checkpoint == found.checkpoint
    assert desk.types[3:] == ["ran"]


def test_run_over_budget_publishes_nothing_and_says_so(desk):
    desk.plan(utility_budget="0.0001")
    found = run(desk.case())
    assert found.published == ""
    assert found.utility.high > 0.0001
    assert desk.types[3:] == ["ran", "undone"]
    assert "utility budget exceeded" in desk.case().last("undone").predicate["reason"]
    assert [path.name for path in desk.folder.glob("weights*")] == ["weights"]
    desk.plan()
    assert run(desk.case()).published.endswith(f"weights-{NUMBER}-2")


def test_replay_gives_the_same_weights_and_changes_nothing(ran):
    before = ran.snapshot()
    assert len(set(replay(ran.case()))) == 1
    assert ran.snapshot() == before


def test_checkpoint_of_orbax_is_unlearned(desk):
    remove(desk.base)
    v1.save(desk.base, {name: np.asarray(leaf) for name, leaf in weights().items()})
    assert desk.plan().facts["base"] == weights_digest(weights())
    assert run(desk.case()).published


def test_changed_byte_of_the_new_checkpoint_is_found_and_named(verified):
    files = (p for p in verified.folder.glob(f"weights-{NUMBER}/data-*/**/*") if p.is_file())
    path = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for step in (run, verify, release):
        with pytest.raises(CheckpointError, match=path.name):
            step(verified.case())
    assert verified.types[3:] == ["ran", "verified"]


def test_other_weights_in_the_place_of_a_checkpoint_are_refused(verified):
    case = verified.case()
    save(case.published, weights(), metadata={})
    with pytest.raises(CheckpointError, match="is not the one that was published"):
        release(case)
    save(case.base, {name: leaf + 1 for name, leaf in weights().items()})
    with pytest.raises(CheckpointError, match="is not the one that was deployed"):
        undo(case)


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
    assert left == {"case.json", "verification.json", ".lock"}
    assert purge(verified.case()) == []
    assert verified.case().last("purged").predicate == {"items": items}
    with pytest.raises(ValueError, match="purged"):
        verify(verified.case())


def test_purge_of_the_old_checkpoint_waits_for_the_release(verified):
    with pytest.raises(ValueError, match="in use until"):
        purge(verified.case(), original=True)
    assert verified.base.is_dir()
    release(verified.case(), although_failed=True)
    assert "old checkpoint" in purge(verified.case(), original=True)
    assert not verified.base.exists()
    with pytest.raises(CheckpointError):
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
    for step in (run, verify, release, undo, purge):
        with pytest.raises(ValueError, match="closed: nothing may follow"):
            step(verified.case())


def test_request_is_refused_with_a_reason(desk):
    desk.plan()
    event = close(desk.case(), refused="it was never in the data")
    assert (event.type, event.predicate["reason"]) == ("refused", "it was never in the data")
    assert not list((desk.home / "secrets").iterdir())


def test_record_names_no_image_after_the_close(tmp_path):
    desk = Desk(tmp_path, **LISTED)
    desk.plan(**LISTED)
    run(desk.case())
    verify(desk.case(), samples=200)
    report(desk.case(), with_pictures=True)
    release(desk.case(), although_failed=True)
    commitments = desk.case().last("identified").predicate["commitments"]
    close(desk.case())
    report(desk.case())
    kept = {name: content for name, content in desk.snapshot().items() if "removals/" in name}
    text = b"\n".join(kept.values()).decode(errors="replace")
    images = load("digits").train.images[[3, 14, 159, 265]]
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    for secret in (*hashes, "[3, 14, 159, 265]", "3, 14", "3,14", "forget.png"):
        assert secret not in text
    for path in (p for p in kept if p.endswith((".json", ".html", ".jinja"))):
        words = set(json.dumps(kept[path].decode()).replace(",", " ").replace('"', " ").split())
        assert words.isdisjoint({"159", "265"}), path
    assert not any(name.endswith((".png", "private.json", "with-pictures.html")) for name in kept)
    # What is left in the ledger, nobody can check any more.
    assert all(commitment not in text for commitment in hashes)
    assert len(commitments) == 4


def test_report_leaves_the_forgotten_pictures_out_by_default(verified):
    page = report(verified.case())
    text = page.read_text()
    assert text.count("<img") == 1
    assert "V6 membership" not in text
    assert "NOT RUN" in text
    record = json.loads((page.parent / "report.json").read_text())
    assert record["verdict"] == "NOT RUN"
    assert len(record["events"]) == 5
    assert any("copies of the weights" in sentence for sentence in record["not_shown"])
    shown = report(verified.case(), with_pictures=True)
    assert shown.read_text().count("<img") == 3
    assert page.read_text() == text


def test_two_commands_at_once_on_one_request_are_refused(ran):
    with ran.case().locked(), pytest.raises(ValueError, match="in use by another command"):
        run(ran.case())


def test_data_that_changed_since_the_plan_are_refused(desk):
    desk.plan()
    path = desk.case().facts_path
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"fingerprint": "0" * 16}))
    with pytest.raises(ValueError, match="has changed since"):
        run(desk.case())
    assert desk.types == ["received", "identified", "planned"]


def test_step_before_its_turn_says_what_comes_first(desk, tmp_path):
    desk.plan()
    for step in (verify, release, undo):
        with pytest.raises(ValueError, match="the last step of request 2026-014 is 'planned'"):
            step(desk.case())
    with pytest.raises(ValueError, match="is not planned"):
        run(Case(desk.home, "2026-015"))
