"""A study that unlearns from parameters it is given."""

import shutil

import jax
import numpy as np
import pytest
from helpers import assert_trees_equal
from tiny_study import read, run_tiny, tiny_config, without_residuals

from gsu_jax import networks
from gsu_jax.models import MLPVAEConfig
from gsu_jax.study import load

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("plain_report")]

SMALL = ("before", "gradient_ascent")


def params_like(seed):
    settings = {"widths": (16,), "latent_size": 4}
    return networks.generator(MLPVAEConfig((8, 8, 1), **settings)).init(jax.random.key(seed))


GIVEN = {0: params_like(10), 1: params_like(11)}


@pytest.fixture(scope="module")
def given(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gsu_jax.study._study.write_report", lambda path, *a, **o: path.touch())
        run_tiny(folder, methods=(*SMALL, "retrain"), before=GIVEN, models_from=finished)
    return folder


def test_baseline_is_the_given_parameters_and_takes_no_time(given):
    for seed, params in GIVEN.items():
        model = load(given, "before", seed)
        assert_trees_equal(model.params, jax.tree.map(np.asarray, params))
        assert (model.steps, model.seconds) == (0, 0)


def test_methods_start_from_the_given_parameters_and_retraining_from_scratch(given, finished):
    first = load(given, "gradient_ascent", 0).history["forget_loss"][0]
    assert first != load(finished, "gradient_ascent", 0).history["forget_loss"][0]
    assert_trees_equal(load(given, "retrain", 1).params, load(finished, "retrain", 1).params)


def test_study_records_a_digest_of_each_seed_only_when_parameters_are_given(given, finished):
    digests = read(given)["config"]["before"]
    assert digests.keys() == {"0", "1"}
    assert digests["0"] != digests["1"]
    assert "before" not in read(finished)["config"]


def test_same_parameters_continue_the_study(given, no_work, files):
    before = files(given)
    run_tiny(given, methods=SMALL, before={seed: dict(GIVEN[seed]) for seed in (0, 1)})
    assert files(given) == before


@pytest.mark.parametrize("other", [{0: GIVEN[0], 1: params_like(12)}, None])
def test_other_parameters_are_refused(given, no_work, files, other):
    before = files(given)
    with pytest.raises(
        ValueError, match=r"(?s)another config:\n  before.*there.*give another --out"
    ):
        run_tiny(given, methods=SMALL, before=other)
    assert files(given) == before


def test_trained_study_does_not_go_on_from_given_parameters(finished, no_work, files):
    before = files(finished)
    with pytest.raises(ValueError, match=r"before: None there"):
        run_tiny(finished, methods=SMALL, before=GIVEN)
    assert files(finished) == before


def test_more_seeds_extend_a_study_of_given_parameters(given, tmp_path):
    folder = shutil.copytree(given, tmp_path / "out")
    rows = read(folder)["rows"]
    run_tiny(folder, methods=("before",), seeds=3, before=GIVEN | {2: params_like(12)})
    assert read(folder)["config"]["before"].keys() == {"0", "1", "2"}
    kept = [row for row in read(folder)["rows"] if row["seed"] < 2]
    assert without_residuals(kept) == rows


def other_width():
    config = MLPVAEConfig((8, 8, 1), widths=(17,), latent_size=4)
    return networks.generator(config).init(jax.random.key(0))


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ({0: GIVEN[0]}, r"before .*seed of the study, \[0, 1\], got \[0\]"),
        (GIVEN | {2: GIVEN[0]}, r"before .*got \[0, 1, 2\]"),
        ({}, r"before .*got \[\]"),
        (GIVEN | {1: {}}, r"before\[1\] has no leaf 'decoder/layers/0/bias'"),
        (GIVEN | {1: GIVEN[1] | {"odd": np.ones(1)}}, r"before\[1\] has a leaf 'odd'"),
        (GIVEN | {1: other_width()}, r"before\[1\]: leaf .* must be float32\[16\], got .*\[17\]"),
        (
            GIVEN | {0: jax.tree.map(lambda x: np.asarray(x, np.float64), GIVEN[0])},
            r"before\[0\]: leaf .* must be float32.*, got float64",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path, before, message
):
    with pytest.raises(ValueError, match=message):
        run_tiny(tmp_path / "out", before=before)
    assert not (tmp_path / "out").exists()


def test_before_must_be_given_by_seed():
    with pytest.raises(TypeError, match=r"before must be \{seed: params\}, got list"):
        run_tiny("unused", before=[GIVEN[0]])
    assert tiny_config().record().keys().isdisjoint({"before"})
