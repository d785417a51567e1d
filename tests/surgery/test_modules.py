"""Modules of Flax NNX and Equinox: errors name the recipe, and the recipe works."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import vector

from gsu_jax.surgery import forget_retain_grads, project, project_conflicting

NNX_RECIPE = r"nnx\.split\(model, nnx\.Param, \.\.\.\).*nnx\.merge\(.*, copy=True\)"
EQUINOX_RECIPE = r"eqx\.partition\(model, .*eqx\.combine\(params, static\)"
PAGE = Path(__file__).parents[2] / "docs/recipes.md"
KEY = jax.random.key(1)
FORGET, RETAIN = jax.random.normal(jax.random.key(0), (2, 8, 3))


@pytest.fixture(autouse=True)
def promotion(strict_promotion):
    """Optax and Flax promote dtypes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Network(nnx.Module):
    def __init__(self, *layers):
        self.layers = nnx.List(layers)

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def network(kind):
    rngs = nnx.Rngs(0)
    more = {"norm": [nnx.BatchNorm(2, rngs=rngs)], "dropout": [nnx.Dropout(0.5, rngs=rngs)]}
    return Network(nnx.Linear(3, 2, rngs=rngs), *more.get(kind, []))


def loss(model, batch, key):
    del key
    return jnp.mean((model(batch) - batch[:, :2]) ** 2)


@pytest.mark.parametrize("kind", ["linear", "norm"])
def test_gradients_of_a_whole_module_are_no_state_and_get_the_recipe(kind):
    model = network(kind)
    optimizer = nnx.Optimizer(model, project_conflicting(), wrt=nnx.Param)
    grads = forget_retain_grads(loss, model, FORGET, RETAIN, KEY)
    with pytest.raises(ValueError, match=f"retain_grads is a Network.*State.*{NNX_RECIPE}"):
        optimizer.update(model, grads.forget, retain_grads=grads.retain)


def test_a_module_with_a_random_key_is_refused_with_the_recipe():
    with pytest.raises(TypeError, match=f"params .*count.*uint32.*{NNX_RECIPE}"):
        forget_retain_grads(loss, network("dropout"), FORGET, RETAIN, KEY)


def test_a_state_of_all_variables_is_refused_with_the_recipe():
    with pytest.raises(TypeError, match=f"params .*count.*uint32.*{NNX_RECIPE}"):
        forget_retain_grads(loss, nnx.state(network("dropout")), FORGET, RETAIN, KEY)


def test_a_merge_without_copy_gets_the_recipe_as_a_note():
    graphdef, params, rest = nnx.split(network("norm"), nnx.Param, ...)

    def without_copy(params, batch, key):
        return loss(nnx.merge(graphdef, params, rest), batch, key)

    with pytest.raises(Exception, match="different trace level") as caught:
        forget_retain_grads(without_copy, params, FORGET, RETAIN, KEY)
    assert re.search(NNX_RECIPE, caught.value.__notes__[0])


def test_another_error_of_the_loss_has_no_note():
    def broken(params, batch, key):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken") as caught:
        forget_retain_grads(broken, {"a": jnp.ones(2)}, FORGET, RETAIN, KEY)
    assert "nnx" not in "".join(caught.value.__notes__)


def test_the_recipe_trains_and_brings_the_statistics_out():
    model = network("norm")
    optimizer = nnx.Optimizer(model, project_conflicting(), wrt=nnx.Param)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss_and_statistics(params, batch, key):
        model = nnx.merge(graphdef, params, rest, copy=True)
        return loss(model, batch, key), nnx.state(model, nnx.BatchStat)

    before = vector(nnx.as_pure(params))
    outputs = RETAIN @ params["layers"][0]["kernel"][...]
    grads = forget_retain_grads(loss_and_statistics, params, FORGET, RETAIN, KEY, has_aux=True)
    optimizer.update(model, grads.forget, retain_grads=grads.retain)
    nnx.update(model, grads.retain_aux)
    moved = vector(nnx.as_pure(nnx.state(model, nnx.Param))) - before
    expected = vector(nnx.as_pure(project(grads.forget, grads.retain)))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_allclose(model.layers[1].mean[...], 0.01 * outputs.mean(0), atol=1e-5)


class FakeModule:
    """Stands for a module of Equinox, whose classes are told by the names of their modules."""


FakeModule.__module__ = "equinox._module"


@jax.tree_util.register_pytree_node_class
class FakeMLP(FakeModule):
    def __init__(self, weight, activation):
        self.weight, self.activation = weight, activation

    def tree_flatten(self):
        return (self.weight, self.activation), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


def test_a_module_with_a_function_as_a_leaf_is_refused_with_the_recipe():
    model = FakeMLP(jnp.ones(2), jax.nn.relu)
    with pytest.raises(TypeError, match=f"params .*leaf .* of type custom_jvp.*{EQUINOX_RECIPE}"):
        forget_retain_grads(loss, model, FORGET, RETAIN, KEY)
    with pytest.raises(ValueError, match=f"retain_grads has a leaf.*{EQUINOX_RECIPE}"):
        project(FakeMLP(jnp.ones(2), None), model)


def test_other_classes_get_no_recipe():
    class Mine(dict):
        __module__ = "equinoxious"

    jax.tree_util.register_pytree_node(Mine, lambda mine: ([mine["a"]], None), lambda _, v: Mine())
    for params in ({"a": jnp.arange(2)}, Mine(a=jnp.arange(2))):
        with pytest.raises(TypeError, match=r"params .*int32") as caught:
            forget_retain_grads(loss, params, FORGET, RETAIN, KEY)
        assert "eqx" not in str(caught.value)
        assert "nnx" not in str(caught.value)


def test_the_equinox_example_of_the_docs_runs():
    pytest.importorskip("equinox", reason="equinox is no dependency: pip install equinox to run it")
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    chosen = [blocks[0], *(block for block in blocks if "import equinox" in block)]
    assert len(chosen) == 2
    namespace = {}
    for block in chosen:
        exec(block, namespace)


def test_linen_train_state_drops_the_retain_gradient_with_an_error_that_names_it():
    train_state = pytest.importorskip("flax.training.train_state")
    params = {"w": jnp.ones(2)}
    state = train_state.TrainState.create(
        apply_fn=None, params=params, tx=optax.chain(project_conflicting(), optax.sgd(1.0))
    )
    with pytest.raises(ValueError, match=r"TrainState\.apply_gradients.*state\.tx\.update"):
        state.apply_gradients(grads=params, retain_grads=params)
