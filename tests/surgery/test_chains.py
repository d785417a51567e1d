"""The transforms in every place that optax and Flax can put them."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_trees_close, assert_trees_equal, cosine, random_tree, vector

from gsu_jax.surgery import add_retain_gradient, measure_conflict, project, project_conflicting

MASK = {"encoder": True, "decoder": False}


@pytest.fixture(autouse=True)
def promotion(strict_promotion):
    """Optax and Flax promote dtypes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def one_update(optimizer, updates, **extra_args):
    return jax.jit(optimizer.update)(updates, optimizer.init(updates), updates, **extra_args)


def test_restricted_gradient_in_a_chain():
    u, r = random_tree(0), random_tree(1)
    chain = optax.chain(project_conflicting(), add_retain_gradient(3.0))
    expected = jax.tree.map(lambda p, r: p + 3 * r, project(u, r), r)
    assert_trees_close(one_update(chain, u, retain_grads=r)[0], expected, rtol=1e-5)


def test_named_chain_keys_the_state_by_name():
    u, r = random_tree(0), random_tree(1)
    chain = optax.named_chain(("surgery", project_conflicting()), ("sgd", optax.sgd(1e-3)))
    _, state = one_update(chain, u, retain_grads=r)
    np.testing.assert_allclose(state["surgery"].cosine, cosine(u, r), rtol=1e-5)


def test_masked_projects_the_masked_part_by_itself():
    u, r = random_tree(0), random_tree(1)
    masked = optax.masked(project_conflicting(), MASK, mask_compatible_extra_args=True)
    updates, _ = one_update(masked, u, retain_grads=r)
    assert_trees_equal(updates["decoder"], u["decoder"])
    assert_trees_close(updates["encoder"], project(u["encoder"], r["encoder"]))


def test_partition_projects_one_part_and_not_the_other():
    u, r = random_tree(0), random_tree(1)
    chain = optax.partition(
        {"plain": optax.identity(), "surgery": project_conflicting()},
        {"encoder": "plain", "decoder": "surgery"},
        mask_compatible_extra_args=True,
    )
    updates, _ = one_update(chain, u, retain_grads=r)
    assert_trees_equal(updates["encoder"], u["encoder"])
    assert_trees_close(updates["decoder"], project(u["decoder"], r["decoder"]))


def test_a_fixed_retain_gradient_is_not_masked():
    u, r = random_tree(0), random_tree(1)
    masked = optax.masked(project_conflicting(r), MASK, mask_compatible_extra_args=True)
    with pytest.raises(ValueError, match="retain_grads"):
        masked.update(u, masked.init(u), u)


def test_inject_hyperparams_changes_weight_and_rate_between_steps():
    u, r = random_tree(0), random_tree(1)

    def make(learning_rate, weight):
        return optax.chain(
            project_conflicting(), add_retain_gradient(weight), optax.sgd(learning_rate)
        )

    injected = optax.inject_hyperparams(make)(learning_rate=0.1, weight=2.0)
    state, update = injected.init(u), jax.jit(injected.update)
    for weight in (2.0, 5.0):
        state.hyperparams["weight"] = jnp.float32(weight)
        steps, state = update(u, state, u, retain_grads=r)
        expected = jax.tree.map(lambda p, r, w=weight: -0.1 * (p + w * r), project(u, r), r)
        assert_trees_close(steps, expected, rtol=1e-5)


def test_inject_hyperparams_passes_options():
    u, r = random_tree(0), random_tree(1)
    surgery = optax.inject_hyperparams(project_conflicting)(when="conflict")
    updates, state = one_update(surgery, u, retain_grads=r)
    assert_trees_close(updates, project(u, r, when="conflict"))
    np.testing.assert_allclose(optax.tree.get(state, "cosine"), cosine(u, r), rtol=1e-5)


def test_multi_steps_projects_on_the_last_retain_gradient():
    us, rs = [random_tree(0), random_tree(1)], [random_tree(2), random_tree(3)]
    chain = optax.MultiSteps(project_conflicting(), 2)
    state, update = chain.init(us[0]), jax.jit(chain.update)
    for u, r in zip(us, rs, strict=True):
        updates, state = update(u, state, us[0], retain_grads=r)
    mean_u, mean_r = (jax.tree.map(lambda a, b: (a + b) / 2, *pair) for pair in (us, rs))
    assert_trees_close(updates, project(mean_u, rs[-1]))
    assert np.abs(vector(updates) - vector(project(mean_u, mean_r))).max() > 1e-2


def test_multi_steps_of_optax_passes_extra_arguments_on_by_itself_and_drops_them_in_a_chain():
    u, r = random_tree(0), random_tree(1)
    alone = optax.MultiSteps(project_conflicting(), 1)
    for transform in (alone, alone.gradient_transformation()):
        assert_trees_close(one_update(transform, u, retain_grads=r)[0], project(u, r), atol=1e-5)
        chain = optax.chain(transform)
        with pytest.raises(ValueError, match=r"MultiSteps in a chain .*gsu_jax\.multi_steps"):
            chain.update(u, chain.init(u), u, retain_grads=r)


def test_nnx_optimizer_takes_retain_grads():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    chain = optax.chain(project_conflicting(), optax.sgd(1.0))
    optimizer = nnx.Optimizer(model, chain, wrt=nnx.Param)

    def loss(model, x):
        return jnp.mean(model(x) ** 2)

    before = nnx.as_pure(nnx.state(model, nnx.Param))
    x, y = jnp.float32(np.random.default_rng(0).normal(size=(2, 5, 3)))
    u, r = nnx.grad(loss)(model, x), nnx.grad(loss)(model, y)

    @nnx.jit
    def train(model, optimizer, u, r):
        optimizer.update(model, u, retain_grads=r)

    train(model, optimizer, u, r)
    after = nnx.as_pure(nnx.state(model, nnx.Param))
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: a - b, before, after))
    expected = jax.tree.leaves(project(nnx.as_pure(u), nnx.as_pure(r)))
    assert_trees_close(moved, expected, rtol=1e-5, atol=1e-5)


def test_linen_parameters():
    model = nn.Dense(2)
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))

    def loss(params, x):
        return jnp.mean(model.apply(params, x) ** 2)

    u, r = (jax.grad(loss)(params, jax.random.normal(jax.random.key(i), (4, 3))) for i in (1, 2))
    assert_trees_close(one_update(project_conflicting(), u, retain_grads=r)[0], project(u, r))
    with pytest.raises(ValueError, match="no leaf params/kernel"):
        project(u, {"params": {"bias": r["params"]["bias"]}})


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    weight: jax.Array
    bias: jax.Array | None


def test_dataclass_trees_with_none_leaves():
    u = [Layer(jnp.float32([1, 1]), None), Layer(jnp.float32([2]), jnp.float32([1]))]
    r = [Layer(jnp.float32([1, 0]), None), Layer(jnp.float32([0]), jnp.float32([0]))]
    updates, _ = one_update(project_conflicting(), u, retain_grads=r)
    np.testing.assert_array_equal(vector(updates), [0, 1, 2, 1])
    assert updates[0].bias is None
    with pytest.raises(ValueError, match="leaf 0/bias"):
        project(u, [Layer(jnp.float32([1, 0]), jnp.ones(1)), r[1]])


def test_vmap_over_models_equals_one_model_at_a_time():
    us, rs = random_tree(0, k=3), random_tree(1, k=3)
    chain = optax.chain(project_conflicting(), optax.sgd(0.1), measure_conflict())

    def run(u, r):
        return chain.update(u, chain.init(u), u, retain_grads=r)

    steps, state = jax.jit(jax.vmap(run))(us, rs)
    for i in range(3):
        u, r = jax.tree.map(lambda x, i=i: x[i], (us, rs))
        found = jax.tree.map(lambda x, i=i: x[i], steps)
        assert_trees_close(found, jax.tree.map(lambda p: -0.1 * p, project(u, r)), atol=1e-5)
        np.testing.assert_allclose(state[0].cosine[i], cosine(u, r), atol=1e-5)
