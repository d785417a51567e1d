"""A verdict is what the verifier signed of the last run; files of the operator change nothing."""

import json

import pytest
from removal_desk import NUMBER

from gsu_jax.removal import RoleKey, verification
from gsu_jax.removal.service import close, release, report, run, undo, verify_case
from gsu_jax.removal.service._report import describe


def edit(case, change):
    path = case.folder / "verification.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


def pass_all(record):
    record |= {"verdict": "PASSED", "decides": "V0 lineage"}
    for row in record["lines"].values():
        row["verdict"] = "PASSED"


def test_report_of_a_new_run_has_nothing_of_the_run_that_was_undone(verified):
    before = describe(verified.case())
    assert before["checkpoint"] == verified.case().checkpoint
    undo(verified.case())
    assert describe(verified.case())["lines"] == before["lines"]  # that run is still the last
    verified.plan(epochs="2")
    run(verified.case())
    found = describe(verified.case())
    assert (found["verdict"], found["decides"], found["checkpoint"]) == ("NOT RUN", "", "")
    assert (found["lines"], found["settings"], found["calibration"]) == ({}, {}, {})
    assert "not verified" in report(verified.case()).read_text()
    assert verified.case().checkpoint != before["checkpoint"]
    verify_case(verified.case(), samples=200)
    assert describe(verified.case())["checkpoint"] == verified.case().checkpoint


def test_series_of_a_run_that_was_undone_is_not_in_the_report(verified):
    case = verified.case()
    said = {"requests": [NUMBER], "zero": "retrained models", "left": {}, "silent": {}}
    said |= {"resurgence": {}, "drift": [], "union": None, "recommendation": "go on"}
    key = case.key("verifier")
    case.ledger.append("remeasured", NUMBER, key, said, checkpoint=case.checkpoint)
    (case.folder / "series.json").write_text(json.dumps(said | {"recommendation": "forged"}))
    assert describe(verified.case())["series"] == said
    undo(verified.case())
    verified.plan()
    assert describe(verified.case())["series"] == {}


@pytest.mark.parametrize(
    "change",
    [
        pass_all,
        lambda record: record["lines"]["V1 utility"].update(power=1.0, says="nothing was lost"),
        lambda record: record["settings"].update(samples=10_000),
        lambda record: record["calibration"].update({"V3 evidence": {"says": "fails nobody"}}),
        lambda record: record.update(checkpoint="f" * 64),
    ],
)
def test_report_refuses_a_verification_that_the_verifier_did_not_sign(verified, change):
    path = edit(verified.case(), change)
    with pytest.raises(ValueError, match=r"is not what the verifier signed.* verify request") as e:
        report(verified.case())
    assert str(e.value).startswith(str(path))
    assert "\n" not in str(e.value)
    verify_case(verified.case(), samples=200)
    assert report(verified.case()).is_file()


def test_report_takes_the_verdict_of_the_event_and_its_lines_in_order(verified):
    record = json.loads((verified.case().folder / "verification.json").read_text())
    found = describe(verified.case())
    assert list(found["lines"]) == list(record["lines"])
    assert found["lines"] == record["lines"]
    for name in ("verdict", "decides", "checkpoint", "settings", "calibration"):
        assert found[name] == record[name]
    edit(verified.case(), lambda record: record.update(verdict="PASSED", decides="V0 lineage"))
    assert describe(verified.case()) == found
    (verified.case().folder / "verification.json").unlink()
    alone = describe(verified.case())
    assert (alone["verdict"], alone["lines"]) == (found["verdict"], found["lines"])
    assert "not verified" not in report(verified.case()).read_text()


def test_closed_record_has_the_lines_that_the_verifier_signed(verified):
    release(verified.case(), although_failed=True)
    edit(verified.case(), pass_all)
    assert "V3 evidence: NOT RUN" in close(verified.case()).predicate["residualRisk"]


def test_verdict_that_the_operator_signed_stops_report_and_release(ran):
    case = ran.case()
    key = RoleKey("verifier", case.key("operator").signer)
    lines = verification({"V2 share": "PASSED"}, configuration="c" * 64)
    event = case.ledger.append("verified", NUMBER, key, lines, checkpoint=case.checkpoint)
    for step in (report, release):
        with pytest.raises(ValueError, match=f"event {event.seq}, 'verified', is not the ver"):
            step(ran.case())
    assert ran.types[-1] == "verified"
