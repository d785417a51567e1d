"""`gsu-jax single_image`: what is testable is known before unlearning, what is shown is true."""

import json

import numpy as np
import pytest
from gaussian_scores import draw

from gsu_jax.cli.experiments import _panel_models
from gsu_jax.cli.experiments._panel import COPIES, Sizes, base_images, draw_panel, seal
from gsu_jax.cli.experiments._panel_tables import (
    MARGIN,
    declare,
    epsilon_of_one_run,
    images_after,
)

SIZES = Sizes(random=6, memorized=4, canaries=2, noised=5)


SCRIPT = "single_image.py"
pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def panel():
    rng = np.random.default_rng(0)
    train, test = rng.random((100, 4, 4, 1)), rng.random((30, 4, 4, 1))
    return draw_panel(train, test, np.arange(100.0), SIZES, 0), train


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--models 9", "--models must be even, so that each image is in half of them, got 9"),
        ("--pilot 5", "--pilot must be even"),
        ("--models 2", "--models must be at least 8, got 2"),
        ("--seeds 1", "--seeds must be at least 4, got 1"),
        ("--chunk 0", "--chunk must be at least 1, got 0"),
        ("--singles -1", "--singles must be at least 0, got -1"),
        ("--dataset digit", "'digit'. Did you mean 'digits'?"),
        ("--methods fine_tun", "'fine_tun'. Did you mean 'fine_tune' or"),
        ("--methods retrain", "--methods: unknown method 'retrain'"),
        ("--modls 8", "--modls. Did you mean '--models'"),
    ],
)
def test_mistake_ends_in_one_line_and_status_2(refuses, words, message):
    assert refuses(words, message)


def test_panel_holds_each_training_image_once_and_takes_it_out_of_the_base(panel):
    panel, train = panel
    own = panel.positions[panel.positions >= 0]
    assert len(set(own)) == len(own) == 15
    assert set(panel.positions[panel.kinds == "memorized"]) == {96, 97, 98, 99}
    assert len(base_images(train, panel)) == 85
    assert sorted(panel.copies[panel.positions < 0]) == sorted(2 * COPIES)
    assert panel.images.min() >= 0
    assert panel.images.max() <= 1


def test_model_is_trained_on_the_copies_of_its_members(panel):
    panel, train = panel
    base = base_images(train, panel)
    chosen = panel.kinds == "canary, 16x"
    rows = panel.rows(base, chosen)
    assert len(rows) == 85 + 2 * 16
    np.testing.assert_array_equal(panel.pool(base)[rows[-1]], panel.images[chosen][-1])


def test_coins_are_written_once(panel, tmp_path):
    panel, _ = panel
    digest = seal(tmp_path, panel)
    assert seal(tmp_path, panel) == digest
    written = json.loads((tmp_path / "coins.json").read_text())
    assert [entry["trained_on"] for entry in written] == panel.coins.tolist()
    with pytest.raises(ValueError, match="has the coins of another panel"):
        seal(tmp_path, panel._replace(coins=~panel.coins))


@pytest.mark.parametrize(("shift", "testable"), [(0.0, 0.0), (4.0, 1.0)])
def test_image_is_testable_if_training_on_it_moves_it(shift, testable):
    scores = draw(shift, models=64)
    found = declare(scores.shadows, scores.members, seeds=18)
    assert found.least == MARGIN
    assert found.shift.mean() == pytest.approx(shift, abs=0.1)
    assert found.testable.mean() == testable


def test_few_seeds_raise_what_is_testable():
    scores = draw(2.0, models=64)
    assert declare(scores.shadows, scores.members, seeds=4).least > 2 * MARGIN * 0.7


def test_one_run_finds_memorized_coins_and_proves_nothing_without():
    found = {}
    for shift in (0.0, 4.0):
        scores = draw(shift, models=64)
        found[shift] = epsilon_of_one_run(
            scores.target[None], scores.shadows, scores.members, scores.is_member
        )
    assert found[0.0][0] < 0.2
    assert found[4.0][0] > 3
    assert found[4.0][1] > 0.97


def test_unlearned_models_that_are_like_retrained_ones_are_shown_to_be_and_others_to_differ():
    rng = np.random.default_rng(0)
    retrained, equal = rng.normal(size=(2, 18, 40))
    every = np.ones(40, bool)
    like, unlike = images_after(equal, retrained, every)
    assert like >= 30
    assert unlike == 0
    assert images_after(equal + 4, retrained, every) == (0, 40)
    assert images_after(equal, retrained, ~every) == (0, 0)


@pytest.mark.slow
def test_run_declares_before_it_unlearns_and_a_killed_one_goes_on(run, tmp_path, monkeypatch):
    trained, train = [], _panel_models.train_on_rows

    def counted(*arguments):
        trained.append(len(arguments[5]))
        if len(trained) == 5:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(_panel_models, "train_on_rows", counted)
    words = "--quick --methods fine_tune --out out --no-program-cache"
    status, _, _ = run(words)
    assert status == 130
    folder = tmp_path / "out"
    assert (folder / "declared.json").is_file()
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert not any("fine_tune" in name for name in kept)
    status, printed, errors = run(words)
    assert (status, errors) == (0, "")
    # Chunks of four: the pilot, two of reference, before, retrained for the list; for a single
    # image one more. The chunk that was cut off is trained again, the others are not.
    record = json.loads((folder / "single_image.json").read_text())
    requests = {row["request"] for row in record["methods"]}
    assert len(trained) == 5 + len(requests)
    assert "the figures mean nothing" in printed
    assert {row["method"] for row in record["rows"]} == {"before", "fine_tune"}
    again = run(words)
    assert again[1] == printed
    assert len(trained) == 5 + len(requests)
