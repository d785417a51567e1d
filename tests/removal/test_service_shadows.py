"""Attacks with shadow models: what memorizes is found, what does not is not."""

import desk_models
import numpy as np
import pytest
from removal_desk import LISTED, NUMBER, Desk

from gsu_jax.audit import Verdict
from gsu_jax.cli._removal import main
from gsu_jax.data import load
from gsu_jax.removal.service import run, verify_case
from gsu_jax.removal.service._quote import MODELS, SHADOWS, Quote, trainings
from gsu_jax.removal.service._tier2 import bound_of_pairs

pytestmark = pytest.mark.slow

IDS = list(range(0, 300, 5))
REMEMBERED = {
    "claim": '"rows"',
    "what": f"{{ ids = {IDS} }}",
    "model": '"desk_models:remembering"',
    "train": '{ function = "desk_models:remember" }',
    "method": '"fine_tune"',
}
TIER_2 = {"tier": 2, "models": 8, "samples": 100, "shadows": 8}
SEEDS = [3000 + i for i in range(8)]


def remembering_desk(folder, images):
    """A request whose "unlearning" only trained on, for a checkpoint that remembers `images`."""
    desk = Desk(folder, desk_models.remember(images, 7), **REMEMBERED)
    desk.plan(**REMEMBERED)
    run(desk.case())
    return desk


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return remembering_desk(tmp_path_factory.mktemp("kept"), load("digits").train.images)


def verdicts(found):
    return {line.name: line.verdict for line in found.lines}


def test_model_that_remembers_the_images_fails(kept, tmp_path):
    found = verify_case(kept.copy(tmp_path / "copy").case(), **TIER_2)
    lines = verdicts(found)
    assert lines["V6 membership"] == lines["V7 epsilon"] == Verdict.FAILED
    assert "60 images against" in found.said["V6 membership"]
    assert "8 shadows" in found.said["V6 membership"]
    assert "of 8 intervals hold 0.5" in found.said["V6 membership"]
    assert "100% of the originals" in found.said["self-test"]


def test_model_that_never_saw_the_images_passes_the_attacks_and_each_line_is_run(tmp_path):
    images = load("digits").train.images
    desk = remembering_desk(tmp_path, np.delete(images, IDS, axis=0))
    found = verify_case(desk.case(), **TIER_2)
    lines = verdicts(found)
    assert lines["V6 membership"] == lines["V7 epsilon"] == Verdict.PASSED
    # The model has no layer that reads pixels, and no decoder. Nothing else is left out.
    left_out = [name for name, found in lines.items() if found == Verdict.NOT_RUN]
    assert left_out == ["V13 weights", "V10 recovery"]
    predicate = desk.case().last("verified").predicate
    assert predicate["gsu_jax_lines"]["V7 epsilon"]["random"] == "images"


def test_images_that_nobody_memorizes_are_not_detectable(tmp_path):
    desk = Desk(tmp_path)
    desk.plan(**LISTED)
    run(desk.case())
    lines = verdicts(verify_case(desk.case(), **TIER_2))
    assert lines["V6 membership"] == lines["V7 epsilon"] == Verdict.NOT_DETECTABLE


def test_killed_training_goes_on_with_the_same_shadows(kept, tmp_path, monkeypatch):
    whole, killed = (kept.copy(tmp_path / name) for name in ("whole", "killed"))
    expected = verify_case(whole.case(), **TIER_2)
    monkeypatch.setattr(desk_models, "trained", [])
    monkeypatch.setattr(desk_models, "killed_at", [SEEDS[5]])
    with pytest.raises(KeyboardInterrupt):
        verify_case(killed.case(), **TIER_2)
    assert [seed for seed in desk_models.trained if seed >= SEEDS[0]] == SEEDS[:5]
    assert killed.types[4:] == []
    monkeypatch.setattr(desk_models, "killed_at", [None])
    found = verify_case(killed.case(), **TIER_2)
    assert [seed for seed in desk_models.trained if seed >= SEEDS[0]] == SEEDS
    assert found.said == expected.said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tier", "2", "--shadows", "9"], "shadows must be even"),
        (["--tier", "2", "--shadows", "2"], "shadows must be at least 8, got 2"),
        (["--tier", "3"], "tier must be 0, 1 or 2, got 3"),
        (["--tier", "2", "--models", "1"], "models must be at least 3, got 1"),
    ],
)
def test_bad_numbers_are_one_line(kept, capsys, options, said):
    code = main(["verify", NUMBER, "--folder", str(kept.home), *options])
    assert code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert kept.types[4:] == []


def test_plan_quotes_shadow_models_for_a_list_alone():
    quote = Quote(2.0, 5.0, 300)
    run = Quote(3.0, 1.0, 40)
    after = MODELS * (3.0 + 2.0 / 4) + 5.0 + 1.0  # each original unlearns, and trains once more
    models = 2 * MODELS
    assert trainings("class", quote, 4, run) == [(1, models, 2.0 * models + after)]
    assert trainings("rows", quote, 4, run)[1] == (
        2, models + SHADOWS, 2.0 * (models + SHADOWS) + after,
    )  # fmt: skip
    assert trainings("rows", None, 0, run) == []


def test_bound_of_pairs_sees_over_forgetting_as_well():
    assert bound_of_pairs(90, 100) == bound_of_pairs(10, 100) > 1.4
    assert bound_of_pairs(50, 100) == 0
