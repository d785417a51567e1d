"""A request from its plan to its receipt: what is written, what stays, what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import desk_models
import jax
import numpy as np
import pytest
from orbax.checkpoint import v1
from removal_desk import NUMBER, damage, weights

from gsu_jax.audit import Verdict
from gsu_jax.methods import FineTune
from gsu_jax.removal import Ledger, digest, read_request, weights_digest
from gsu_jax.removal.service import Case, _case, _plan, plan, release, replay, report, run, undo
from gsu_jax.removal.service import verify_case as verify
from gsu_jax.removal.service._plan import choose
from gsu_jax.removal.service._tier0 import lineage
from gsu_jax.storage import CheckpointError, remove, save
from gsu_jax.unlearning import unlearn


def test_plan_writes_three_events_and_says_what_it_takes(desk):
    found = desk.plan()
    assert desk.types == ["received", "identified", "planned"]
    assert (found.facts["count"], found.facts["retained"]) == (146, 1292)
    assert found.quote.steps == 2
    assert found.quote.seconds > 0
    assert 2**26 < found.quote.peak_bytes < 2**36
    assert -1 <= found.conflict[0] <= 1
    assert {name for name, _, _ in found.power} >= {"copies", "weights", "equivalence"}
    assert (desk.home / "cases" / NUMBER / "forget.png").is_file()


def test_run_takes_the_learning_rate_of_the_request_and_the_ledger_says_so(desk):
    desk.plan(method='"fine_tune"', utility_budget="1.0", learning_rate="2e-2")
    assert desk.case().last("planned").predicate["settings"]["learning_rate"] == 2e-2
    outcome = run(desk.case())
    ran = desk.case().last("ran").predicate["buildDefinition"]["externalParameters"]
    assert ran["settings"]["learning_rate"] == 2e-2
    assert replay(desk.case()) == (outcome.checkpoint, outcome.checkpoint)
    case = desk.case()
    expected = unlearn(
        case.model, case.load(case.base, case.facts["base"], ""), case.split.train.forget.images,
        case.split.train.retain.images, method=FineTune(learning_rate=2e-2),
        key=jax.random.key(case.facts["seed"]), epochs=case.facts["epochs"],
    ).params  # fmt: skip
    assert weights_digest(expected) == outcome.checkpoint


def test_learning_rate_is_refused_by_a_method_without_steps_and_out_of_range(desk):
    before = desk.snapshot()
    with pytest.raises(ValueError, match="synaptic_dampening takes no steps; leave it out"):
        desk.plan(method='"synaptic_dampening"', learning_rate="1e-2")
    request = replace(read_request(desk.file), learning_rate=float("nan"))
    with pytest.raises(ValueError, match=r"learning_rate must be in \(0, 1\), got nan"):
        plan(request, None, modules=desk.folder)
    assert {n: c for n, c in desk.snapshot().items() if n != "request.toml"} == {
        n: c for n, c in before.items() if n != "request.toml"
    }


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
    path = damage(verified.case().published)
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


def test_changed_list_of_images_fails_the_lineage(ran):
    path = ran.home / "cases" / NUMBER / "private.json"
    assert lineage(SimpleNamespace(case=ran.case()))[0].verdict == Verdict.PASSED
    path.write_text(json.dumps(json.loads(path.read_text()) | {"positions": [3]}))
    line, said = lineage(SimpleNamespace(case=ran.case()))
    assert line.verdict == Verdict.FAILED
    assert said == "not those of the ledger: list"


def test_other_class_for_the_judge_fails_the_lineage(ran):
    path = ran.home / "cases" / NUMBER / "private.json"
    kept = json.loads(path.read_text())
    for target in (["label", [2]], ["label", []], None):
        path.write_text(json.dumps(kept | {"target": target}))
        assert lineage(SimpleNamespace(case=ran.case()))[0].verdict == Verdict.FAILED


@pytest.mark.parametrize("content", ["{}", "[]", '{"positions": [1]}', "no JSON"])
def test_file_of_a_case_without_its_values_is_named(ran, content):
    (ran.home / "cases" / NUMBER / "private.json").write_text(content)
    with pytest.raises(ValueError, match=r"private\.json cannot be read .*plan the request again"):
        verify(ran.case())


def test_checkpoint_of_an_earlier_plan_is_not_published(desk, monkeypatch):
    desk.plan()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", fail)
        with pytest.raises(OSError, match="full"):
            run(desk.case())
    desk.plan(epochs="2")
    with pytest.raises(CheckpointError, match=r"is of an earlier plan .*; move it away"):
        run(desk.case())
    assert desk.types[-1] == "planned"


def fail(*_, **__):
    raise OSError("the disk is full")


def test_request_that_was_run_meanwhile_is_not_planned(ran, monkeypatch):
    check, calls = _plan._check_stage, []

    def check_later(case):
        calls.append(case)
        if len(calls) > 1:  # under the lock
            check(case)

    monkeypatch.setattr(_plan, "_check_stage", check_later)
    with pytest.raises(ValueError, match="cannot be planned: its last step is 'ran'"):
        ran.plan(epochs="2")
    assert ran.case().facts["epochs"] == 1


def test_changed_facts_of_a_case_are_found_and_named(verified):
    path = verified.case().facts_path
    facts = json.loads(path.read_text())
    for change in ({"utility_budget": 9.0}, {"fingerprint": "0" * 16}, {"seed": 1}):
        path.write_text(json.dumps(facts | change))
        for step in (run, verify, release):
            with pytest.raises(ValueError, match=r"case\.json was changed: its SHA-256 is"):
                step(verified.case())
    # A folder that was moved is no change.
    path.write_text(json.dumps(facts | {"modules": str(verified.folder)}))
    assert run(verified.case()).published
    assert verified.types[3:] == ["ran", "verified"]


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


def test_data_that_changed_since_the_plan_are_refused(desk, monkeypatch):
    desk.plan()
    other = SimpleNamespace(name="digits", fingerprint="0" * 16)
    monkeypatch.setattr(_case, "load", lambda _: other)
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
