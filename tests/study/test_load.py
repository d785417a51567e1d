"""Models of a study, read out of its folder."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import assert_trees_equal
from own_models import MODEL as OWN
from tiny_study import DIVERGING, read, run_tiny, tiny_config

from gsu_jax import Retrain, networks, storage
from gsu_jax.models import MLPVAEConfig
from gsu_jax.study import load

MODEL = networks.generator(replace(tiny_config().model, image_shape=(8, 8, 1)))


def row_of(folder, method, seed):
    rows = read(folder)["rows"]
    return next(row for row in rows if (row["method"], row["seed"]) == (method, seed))


def test_unlearned_model_comes_with_its_history_and_times(finished):
    model = load(finished, "gradient_ascent", seed=1)
    row = row_of(finished, "gradient_ascent", 1)
    assert (model.method, model.seed) == ("gradient_ascent", 1)
    assert (model.steps, model.seconds) == (row["steps"], row["seconds"])
    assert model.history.keys() == {"forget_loss"}
    assert {values.shape for values in model.history.values()} == {(row["steps"],)}
    assert str(model).count("\n") == 0


@pytest.mark.parametrize("method", ["before", "retrain"])
def test_trained_model_has_no_history(finished, method):
    model = load(finished, method, seed=0)
    assert model.history == {}
    assert model.steps == row_of(finished, method, 0)["steps"]


@pytest.mark.parametrize("method", ["before", "retrain", "gradient_ascent"])
def test_params_without_like_are_those_of_the_shipped_network(finished, method):
    params = load(finished, method, seed=0).params
    like = jax.eval_shape(MODEL.init, jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(like)
    assert MODEL.sample(params, jax.random.key(0), 2).shape == (2, 8, 8, 1)
    assert_trees_equal(params, load(finished, method, seed=0, like=like).params)


def test_method_may_be_given_itself_and_judge_is_a_model_too(finished):
    assert load(finished, DIVERGING, 0).method == "diverging"
    assert load(finished, "judge", 0).params.shape == (64, 10)


@pytest.mark.usefixtures("plain_report")
def test_trained_model_is_found_by_its_label(copy):
    run_tiny(copy, methods=("before", Retrain(label="gold")))
    assert_trees_equal(load(copy, "gold", 0).params, load(copy, "retrain", 0).params)


def test_params_come_back_in_the_containers_of_like(finished, tmp_path):
    params = OWN.init(jax.random.key(0))
    state = jax.tree.map(np.asarray, (params["encoder"], [params["decoder"]]))
    facts = {"steps": 3, "seconds": 1.0, "history": ["loss"]}
    tree = {"params": state, "history": {"loss": np.ones(3, np.float32)}}
    storage.save(tmp_path / "checkpoints" / "mine-0", tree, metadata={"facts": facts})
    found = load(tmp_path, "mine", 0, like=jax.eval_shape(lambda: state))
    assert jax.tree.structure(found.params) == jax.tree.structure(state)
    assert found.history["loss"].tolist() == [1, 1, 1]


def test_missing_folder_method_and_seed_are_named(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run must be.*nowhere, which does not exist"):
        load(tmp_path / "nowhere", "before", 0)
    with pytest.raises(FileNotFoundError, match=r"run must be.*holds no checkpoints"):
        load(tmp_path, "before", 0)
    with pytest.raises(ValueError, match=r"gradient_assent.*Did you mean 'gradient_ascent'"):
        load(finished, "gradient_assent", 0)
    with pytest.raises(ValueError, match=r"seed must be one of 0, 1 for 'before' .*got 2"):
        load(finished, "before", 2)
    with pytest.raises(TypeError, match=r"seed must be an integer, got '0'"):
        load(finished, "before", "0")


def test_seed_may_be_left_out_where_there_is_one_alone(finished):
    assert load(finished, "judge").seed == 0
    with pytest.raises(ValueError, match=r"seed must be one of 0, 1 for 'before' .*got None"):
        load(finished, "before")


def test_like_of_another_model_is_refused_without_advice_to_delete(finished):
    other = networks.generator(MLPVAEConfig((8, 8, 1), widths=(17,), latent_size=4))
    like = jax.eval_shape(other.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"params/decoder.*\[16\].*asked for is .*\[17\]") as error:
        load(finished, "gradient_ascent", 0, like=like)
    assert "elete" not in str(error.value)


def test_damaged_model_is_refused_without_advice_to_delete(copy, flip_a_bit):
    flip_a_bit(copy / "checkpoints" / "before-0")
    with pytest.raises(storage.CheckpointError, match="before-0 is damaged") as error:
        load(copy, "before", 0)
    assert "elete" not in str(error.value)


@pytest.mark.parametrize("damage", [Path.unlink, Path.touch, lambda path: path.write_text("{")])
def test_model_is_found_without_the_results(copy, damage):
    damage(copy / "results.json")
    shutil.rmtree(copy / "samples")
    assert load(copy, "retrain", 1).steps == 30
