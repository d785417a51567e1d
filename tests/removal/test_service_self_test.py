"""The audit on real models of digits, whose answers are known: it may be believed."""

import pytest
from removal_desk import Desk

from gsu_jax.audit import Verdict
from gsu_jax.cli.experiments.verdicts import digits_vae
from gsu_jax.data import load
from gsu_jax.removal import Training
from gsu_jax.removal.service import run, train_model, verify_case

pytestmark = pytest.mark.slow

MODELS = 10  # of each kind, as `verify --tier 1` makes them
ASKED = {
    "model": '"gsu_jax.cli.experiments.verdicts:digits_vae"',
    "train": "{ epochs = 100, learning_rate = 3e-3 }",
    "method": '"fine_tune"',  # with steps too small to change anything
    "learning_rate": "1e-7",
    "epochs": "1",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The verification of an original that was published as if it had forgotten the 1s."""
    images, training = load("digits").train.images, Training(100, 3e-3)
    original = train_model(digits_vae(), images, training, 0)
    desk = Desk(tmp_path_factory.mktemp("kept"), original, **ASKED)
    desk.plan(**ASKED)
    assert abs(run(desk.case()).utility.increase) < 1e-4
    return verify_case(desk.case(), tier=1, models=MODELS, samples=1000)


def test_original_that_is_published_as_if_it_had_forgotten_fails(kept):
    failed = {line.name for line in kept.lines if line.verdict == Verdict.FAILED}
    assert kept.decides.verdict == Verdict.FAILED
    assert failed >= {"V2 share, retrained", "V3 evidence", "V3 equivalence", "V10 recovery"}
    assert "V1 utility" not in failed


def test_held_out_retrained_models_pass_95_percent_of_the_lines(kept):
    assert len(kept.self_test.lines) >= 4
    assert kept.self_test.models == dict.fromkeys(("retrained", "original", "fine_tuned"), MODELS)
    assert kept.self_test.passed.value >= 0.95


@pytest.mark.parametrize("group", ["original", "fine_tuned"])
def test_every_model_that_knows_the_images_fails(kept, group):
    assert kept.self_test.overall[group][Verdict.FAILED] == 1
    # Most lines that see it find each of them, so that no single line decides.
    every = [name for name, each in kept.calibration.items() if each.failed[group] == MODELS]
    assert len(every) >= 3


def test_images_that_no_model_saw_are_not_detectable(kept):
    assert kept.self_test.unseen >= 0.95
    assert kept.self_test.lines["unseen images"]["original"][Verdict.NOT_DETECTABLE] == 1


def test_audit_may_be_believed(kept):
    assert kept.lines[-1].name == "self-test"
    assert kept.lines[-1].verdict == Verdict.PASSED
