"""A study of a model and a judge of the user's own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import own_models
import pytest
from tiny_study import read, tiny_config

from gsu_jax.models import MLPVAEConfig
from gsu_jax.study import Recipe, run_study, start_training, train_epoch

pytestmark = pytest.mark.long

METHODS = ("before", "retrain", "gradient_surgery")


def run_own(folder, *, model=own_models.MODEL, judge=own_models.JUDGE, methods=METHODS, **options):
    source = own_models.uint8_digits()
    config = tiny_config(model=model, judge=judge, pretraining=Recipe(3, learning_rate=1e-2))
    return run_study(config, source, folder, methods=methods, seeds=1, **options)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "out"
    run_own(folder)
    return folder


@pytest.mark.long
@pytest.mark.usefixtures("plain_report")
def test_functions_of_an_own_model_and_judge_get_floating_images(tmp_path):
    own_models.seen.clear()
    jax.clear_caches()
    run_own(tmp_path, methods=("before", "retrain"))
    assert own_models.seen == {"float32"}


def test_study_of_an_own_model_has_every_metric(own):
    rows = read(own)["rows"]
    assert [row["method"] for row in rows] == [*METHODS]
    assert not any(row["diverged"] for row in rows)
    assert all(row["fratio"] is not None and row["fid"] > 0 for row in rows)
    # Images of 0 to 255 would give a negative ELBO in the millions.
    assert all(0 < row["nelbo_retain"] < 500 for row in rows)


def test_results_record_own_networks_by_name(own):
    config = read(own)["config"]
    assert config["model"] == {"type": "GenerativeModel", "name": "linear-vae"}
    assert config["judge"] == {"type": "Classifier", "name": "linear-judge"}


def test_own_model_of_another_name_is_another_study(own, files):
    before = files(own)
    with pytest.raises(ValueError, match=r"model.name: 'linear-vae' there, 'linear-vae-2' now"):
        run_own(own, model=replace(own_models.MODEL, name="linear-vae-2"))
    assert files(own) == before


def test_shipped_config_is_recorded_with_its_settings():
    record = tiny_config(judge=own_models.JUDGE).record()
    assert record["model"]["type"] == "MLPVAEConfig"
    assert record["model"]["widths"] == (16,)
    assert next(iter(record["model"])) == "type"
    assert record["pretraining"]["epochs"] == 3
    assert "published" not in record


@pytest.mark.parametrize("name", [None, "", 3])
def test_own_networks_need_a_name(name):
    with pytest.raises(ValueError, match=r"model must have a name.*name='my-model-1'"):
        tiny_config(model=replace(own_models.MODEL, name=name))
    with pytest.raises(ValueError, match=r"judge must have a name.*name='my-judge-1'"):
        tiny_config(judge=replace(own_models.JUDGE, name=name))


def test_model_and_judge_in_each_others_place_are_refused():
    with pytest.raises(TypeError, match=r"model .*GenerativeModel with a name, got Classifier"):
        tiny_config(model=own_models.JUDGE)
    with pytest.raises(TypeError, match=r"judge .*Classifier with a name, got MLPVAEConfig"):
        tiny_config(judge=MLPVAEConfig())


def test_judge_of_other_classes_is_refused_before_anything_is_written(tmp_path):
    three = replace(own_models.JUDGE, init=lambda key: jnp.zeros((64, 3)))
    with pytest.raises(ValueError, match=r"judge .*\[n, 10\].*got \[2, 3\].*linear-judge"):
        run_own(tmp_path / "out", judge=three)
    assert not (tmp_path / "out").exists()


def test_model_of_other_images_is_refused_before_anything_is_written(tmp_path):
    small = replace(own_models.MODEL, sample=lambda params, key, n: jnp.zeros((n, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"model .*\[n, 8, 8, 1\].*gives \[2, 4, 4, 1\]"):
        run_own(tmp_path / "out", model=small)
    assert not (tmp_path / "out").exists()


def test_model_of_labeled_examples_is_refused_before_anything_is_written(tmp_path):
    def loss(params, batch, key):
        return (batch["image"] * params).mean() + batch["label"].mean()

    model = replace(own_models.MODEL, loss=loss, name="labeled")
    with pytest.raises(ValueError, match=r"'labeled' cannot take images alone.*evaluate"):
        run_own(tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_training_scales_images_and_leaves_other_arrays():
    data = {
        "images": np.full((8, 2, 2, 1), 255, np.uint8),
        "tokens": np.full((8, 3), 255, np.uint8),
    }

    def loss(params, batch, key):
        assert batch["tokens"].dtype == jnp.uint8
        return params * (batch["images"].mean() + batch["tokens"].mean(dtype=jnp.float32))

    keys = jax.random.split(jax.random.key(0), 1)
    recipe = Recipe(batch_size=4)
    state = start_training(lambda key: jnp.ones(()), recipe, keys)
    _, losses = train_epoch(loss, recipe, state, data, keys)
    np.testing.assert_allclose(losses, 256, rtol=1e-2)
