"""Verdicts of a new checkpoint: which lines a claim has, what they find, what is trained for it."""

from types import SimpleNamespace

import desk_models
import pytest
from removal_desk import LISTED, Desk

from gsu_jax.audit import Verdict
from gsu_jax.metrics import Count, JudgeErrors
from gsu_jax.removal.service import run, verify_case
from gsu_jax.removal.service._files import read_json
from gsu_jax.removal.service._lines import TESTS
from gsu_jax.removal.service._measures import chance_to_find, most_share, share_power
from gsu_jax.removal.service._tier0 import _share_line

pytestmark = pytest.mark.slow

CLEAR = JudgeErrors(Count(95, 100), Count(0, 900))


def verdicts(found):
    return {line.name: line.verdict for line in found.lines}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A request whose "unlearning" trained on: the class is as known as before."""
    desk = Desk(tmp_path_factory.mktemp("kept"), method='"fine_tune"')
    desk.plan(method='"fine_tune"')
    run(desk.case())
    return desk


@pytest.fixture(scope="module")
def audited(kept):
    del desk_models.trained[:]
    return verify_case(kept.case(), tier=1, models=4, samples=500)


def test_model_that_forgot_nothing_fails(audited):
    found = verdicts(audited)
    assert found["V3 equivalence"] == Verdict.FAILED
    assert audited.decides.verdict == Verdict.FAILED
    assert found["V0 lineage"] == found["V1 utility"] == Verdict.PASSED


def test_class_has_the_lines_of_its_claim(audited):
    assert [line.name for line in audited.lines[:-1]] == [
        test.name for test in TESTS if "class" in test.claims
    ]
    assert audited.lines[-1].name == "self-test"
    assert set(audited.said) == {line.name for line in audited.lines}


def test_thresholds_and_false_alarms_are_in_the_record(audited, kept):
    record = read_json(kept.case().folder / "verification.json")
    assert record["settings"]["level"] == pytest.approx(1 - 0.05 / 7, abs=1e-6)
    evidence = record["calibration"]["V3 evidence"]
    assert evidence["low"] < evidence["high"]
    assert set(evidence["failed"]) == {"retrained", "original", "fine_tuned"}
    assert evidence["models"]["retrained"] == 4
    assert f"fails outside [{evidence['low']:.4g}, " in audited.said["V3 evidence"]
    assert "unseen images" in record["calibration"]
    assert record["calibration"]["V2 share, retrained"]["low"] is None


def test_models_are_trained_once(audited, kept):
    assert len(desk_models.trained) == 8  # four retrained, four originals
    again = verify_case(kept.case(), tier=1, models=4, samples=500)
    assert len(desk_models.trained) == 8
    assert again.said == audited.said
    assert kept.types[4:] == ["verified", "verified"]
    predicate = kept.case().last("verified").predicate
    assert predicate["result"] == "FAILED"
    assert predicate["gsu_jax_lines"]["V0 lineage"]["n"] == 4


def test_list_of_images_has_lines_of_its_own_and_never_passes_without_attacks(tmp_path):
    desk = Desk(tmp_path)
    desk.plan(**LISTED)
    run(desk.case())
    found = verify_case(desk.case(), samples=200)
    lines = verdicts(found)
    assert {"V4 rows", "V5 set", "V6 membership", "V7 epsilon"} <= set(lines)
    assert not {"V2 share", "V14 relative"} & set(lines)
    # Four images: whether the weights show a tenth of them, nobody can tell.
    assert lines["V13 weights"] == Verdict.NOT_DETECTABLE
    assert lines["V6 membership"] == Verdict.NOT_RUN
    assert found.decides.verdict in (Verdict.NOT_RUN, Verdict.FAILED)
    assert found.self_test is None


def test_tier_1_needs_to_know_how_the_checkpoint_was_trained(tmp_path):
    desk = Desk(tmp_path)
    desk.plan(train=None)
    run(desk.case())
    with pytest.raises(ValueError, match=r"train\.epochs or train\.function"):
        verify_case(desk.case(), tier=1)
    assert desk.types[4:] == []


@pytest.mark.parametrize(
    ("claim", "models", "drawn", "if_retrained", "verdict"),
    [
        ("class", 0, 40, 0, Verdict.PASSED),  # a tenth of 1,000
        ("class", 0, 400, 0, Verdict.NOT_DETECTABLE),  # retrained models may draw as many
        ("class", 0, 980, 0, Verdict.FAILED),  # nothing was shown to be gone
        ("class", 10, 400, 0.05, Verdict.PASSED),  # retrained models draw up to 500
        ("class", 10, 700, 0.05, Verdict.FAILED),
        ("class", 3, 980, 0.4, Verdict.NOT_DETECTABLE),  # three models allow more than before
        ("class", 3, 400, 0.4, Verdict.NOT_DETECTABLE),
        ("concept", 0, 400, 0, Verdict.FAILED),  # nothing like it, whatever retrained models draw
        ("concept", 10, 400, 0.05, Verdict.FAILED),
    ],
)
def test_class_may_be_drawn_as_by_retrained_models_and_a_concept_may_not(
    claim, models, drawn, if_retrained, verdict
):
    subject = SimpleNamespace(
        case=SimpleNamespace(facts={"claim": claim}), models=models,
        judge=SimpleNamespace(errors=CLEAR), share_if_retrained=if_retrained,
    )  # fmt: skip
    line, _ = _share_line("V2 share", subject, Count(1000, 10_000), {"": Count(drawn, 10_000)})
    assert line.verdict == verdict


def test_share_is_bounded_as_if_the_judge_raised_no_false_alarm():
    assert most_share(Count(0, 10_000), CLEAR) == pytest.approx(3.7e-4 / 0.95, rel=0.02)
    assert most_share(Count(100, 10_000), CLEAR) > 0.01 / 0.95
    assert share_power(Count(0, 10_000), CLEAR, 0.001) == 1
    assert share_power(Count(0, 100), CLEAR, 0.001) == 0


def test_chance_to_find_counts_from_the_least_number_that_is_found():
    assert chance_to_find(10, 0.5, lambda k: k >= 8) == pytest.approx(56 / 1024)
    assert chance_to_find(10, 0.5, lambda k: False) == 0
