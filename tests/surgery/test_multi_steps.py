"""One step from the means of k calls equals one call with both means."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import count_compilations
from helpers import (
    assert_finite,
    assert_same_structure,
    assert_trees_close,
    assert_trees_equal,
    random_tree,
    vector,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax import multi_steps
from gsu_jax.surgery import MultiStepsState, measure_conflict, project, project_conflicting
from gsu_jax.surgery.rules import gru

few = settings(max_examples=8, deadline=None)
shapes = st.dictionaries(
    st.sampled_from("ab"), st.sampled_from([(), (3,), (0,), (2, 3)]), min_size=1
)


@pytest.fixture(autouse=True)
def promotion(strict_promotion):
    """Adam's bias correction promotes its count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def chain():
    return optax.chain(project_conflicting(), optax.sgd(0.5))


def run(optimizer, updates, retains, params=None, **extra_args):
    """The steps of all calls, and the last state."""
    params, steps = updates[0] if params is None else params, []
    state = optimizer.init(params)
    for u, r in zip(updates, retains, strict=True):
        step, state = optimizer.update(u, state, params, retain_grads=r, **extra_args)
        steps.append(step)
    return steps, state


def mean(trees):
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trees)


@pytest.mark.long
@few
@given(shapes, st.integers(1, 4), st.integers(0, 2**31), st.integers(-15, 15))
def test_k_calls_equal_one_call_with_both_means(shapes, k, seed, exponent):
    trees = [random_tree(seed + i, 10.0**exponent, shapes=shapes) for i in range(2 * k)]
    updates, retains = trees[:k], trees[k:]
    steps, state = run(multi_steps(chain(), k), updates, retains)
    (expected,), inner = run(chain(), [mean(updates)], [mean(retains)])
    tolerance = 2e-5 * 10.0**exponent
    assert_trees_close(steps[-1], expected, rtol=1e-4, atol=tolerance)
    assert_trees_close(state.inner_state, inner, rtol=1e-3, atol=1e-4)
    for step in steps[:-1]:
        assert not vector(step).any()


def test_between_two_steps_the_state_of_the_wrapped_transform_stays():
    optimizer = multi_steps(optax.chain(project_conflicting(), optax.adam(0.1)), 3)
    u, r = random_tree(0), random_tree(1)
    state = optimizer.init(u)
    for call in range(1, 7):
        before = state
        steps, state = optimizer.update(u, state, u, retain_grads=r)
        assert state.mini_step == call % 3
        assert optax.tree.get(state, "count") == call // 3
        if call % 3:
            assert_trees_equal(state.inner_state, before.inner_state)
            assert not vector(steps).any()
        else:
            assert vector(steps).any()


def test_a_step_starts_over_with_empty_sums():
    us, rs = [random_tree(i) for i in range(4)], [random_tree(i) for i in range(4, 8)]
    steps, state = run(multi_steps(chain(), 2), us, rs)
    expected, _ = run(chain(), [mean(us[2:])], [mean(rs[2:])])
    assert_trees_close(steps[-1], expected[0], atol=1e-5)
    assert not vector((state.updates, state.retain_grads)).any()
    assert state.mini_step == 0


def test_half_of_two_calls_is_kept_in_the_state():
    us, rs = [random_tree(0)], [random_tree(1)]
    _, state = run(multi_steps(chain(), 2), us, rs)
    assert isinstance(state, MultiStepsState)
    assert_trees_close(state.updates, jax.tree.map(lambda x: x / 2, us[0]))
    assert_trees_close(state.retain_grads, jax.tree.map(lambda x: x / 2, rs[0]))


def test_the_projection_sees_the_mean_retain_gradient_and_not_the_last():
    us, rs = [random_tree(0), random_tree(1)], [random_tree(2), random_tree(3)]
    steps, state = run(multi_steps(project_conflicting(), 2), us, rs)
    assert_trees_close(steps[-1], project(mean(us), mean(rs)), atol=1e-5)
    assert np.abs(vector(steps[-1]) - vector(project(mean(us), rs[-1]))).max() > 1e-2
    expected = np.linalg.norm(vector(mean(rs)))
    np.testing.assert_allclose(optax.tree.get(state, "retain_norm"), expected, rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize(("when", "number"), [("always", None), ("conflict", 3)])
def test_sets_of_retain_gradients_are_averaged_one_by_one(when, number):
    us, rs = [random_tree(0), random_tree(1)], [random_tree(2, k=3), random_tree(3, k=3)]
    transform = multi_steps(project_conflicting(when=when), 2, retain_gradients=number)
    steps, state = run(transform, us, rs)
    assert_trees_close(steps[-1], project(mean(us), mean(rs), when=when), rtol=1e-4, atol=1e-5)
    assert_same_structure(state.retain_grads, rs[0])


@pytest.mark.parametrize("number", [None, 2])
def test_scan_equals_a_loop(number):
    optimizer = multi_steps(
        optax.chain(project_conflicting(), optax.adam(0.1), measure_conflict()),
        2,
        retain_gradients=number,
    )
    us, rs = random_tree(0, k=4), random_tree(1, k=4)
    if number:
        rs = jax.tree.map(lambda r: jnp.stack([r, r[::-1]], 1), rs)
    params = jax.tree.map(lambda u: u[0], us)

    def call(state, both):
        u, r = both
        steps, state = optimizer.update(u, state, params, retain_grads=r)
        return state, steps

    state, scanned = jax.lax.scan(call, optimizer.init(params), (us, rs))
    one, looped = jax.jit(call), optimizer.init(params)
    for i in range(4):
        looped, steps = one(looped, jax.tree.map(lambda x, i=i: x[i], (us, rs)))
        assert_trees_close(jax.tree.map(lambda x, i=i: x[i], scanned), steps, atol=1e-5)
    assert_trees_close(state, looped, atol=1e-5)


@pytest.mark.long
def test_vmap_over_models_that_are_at_different_calls():
    optimizer = multi_steps(chain(), 2)
    us, rs = random_tree(0, k=2), random_tree(1, k=2)
    first, second = (jax.tree.map(lambda x, i=i: x[i], (us, rs)) for i in range(2))
    _, ahead = run(optimizer, first[:1], first[1:])
    states = jax.tree.map(lambda a, b: jnp.stack([a, b]), ahead, optimizer.init(second[0]))
    steps, states = jax.vmap(lambda u, s, r: optimizer.update(u, s, u, retain_grads=r))(
        us, states, rs
    )
    expected, _ = run(optimizer, [first[0]] * 2, [first[1]] * 2)
    assert_trees_close(jax.tree.map(lambda x: x[0], steps), expected[-1], atol=1e-5)
    assert not vector(jax.tree.map(lambda x: x[1], steps)).any()
    assert states.mini_step.tolist() == [0, 1]
    assert_trees_close(
        jax.tree.map(lambda x: x[1], states.updates), jax.tree.map(lambda x: x / 2, second[0])
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_dtypes_are_those_of_the_updates_and_of_the_wrapped_state(dtype):
    with jax.enable_x64(dtype == "float64"):
        u, r = random_tree(0, dtype=dtype), random_tree(1)
        optimizer = multi_steps(optax.chain(project_conflicting(), optax.adam(0.1)), 2)
        steps, state = run(optimizer, [u, u], [r, r])
        for step in steps:
            assert_same_structure(step, u)
        assert_same_structure(state, optimizer.init(u))
        wide = jnp.float64 if dtype == "float64" else jnp.float32
        assert {leaf.dtype for leaf in jax.tree.leaves(state.updates)} == {jnp.dtype(wide)}


def test_low_precision_gradients_are_summed_in_float32():
    k = 1024  # in bfloat16, 1 / 1024 is lost beside a sum above 1 / 4
    u, r = jnp.ones(2, jnp.bfloat16), jnp.array([1, 0], jnp.bfloat16)
    optimizer = multi_steps(project_conflicting(), k)

    def call(state, _):
        steps, state = optimizer.update(u, state, u, retain_grads=r)
        return state, steps

    _, steps = jax.lax.scan(call, optimizer.init(u), length=k)
    np.testing.assert_array_equal(np.float32(steps[-1]), [0, 1])
    assert not np.float32(steps[:-1]).any()


def test_steps_wider_than_the_updates_are_allowed():
    """Gradients in bfloat16, parameters in float32, and a decay that adds them."""
    params, u = random_tree(0), random_tree(1, dtype=jnp.bfloat16)
    tx = optax.chain(project_conflicting(), optax.add_decayed_weights(0.1), optax.adam(0.1))
    steps, state = run(multi_steps(tx, 2), [u, u], [u, u], params)
    for step in steps:
        assert_same_structure(step, params)
    assert_same_structure(state.inner_state, tx.init(params))


def test_a_gradient_that_is_not_finite_is_gone_after_its_step():
    u, r = random_tree(0), random_tree(1)
    broken = jax.tree.map(lambda x: x * jnp.nan, u)
    steps, state = run(multi_steps(chain(), 2), [broken, u, u, u], [r, r, r, r])
    assert np.isnan(vector(steps[1])).any()
    assert not vector(steps[0]).any()
    assert_finite(steps[3])
    assert_finite((state.updates, state.retain_grads, state.inner_state))


def test_a_call_that_apply_if_finite_skips_does_not_count():
    u, r = random_tree(0), random_tree(1)
    broken = jax.tree.map(lambda x: x * jnp.inf, u)
    optimizer = optax.apply_if_finite(multi_steps(chain(), 2), 10)
    steps, state = run(optimizer, [u, broken, u], [r, r, r])
    assert_trees_close(steps[-1], run(chain(), [u], [r])[0][0], atol=1e-5)
    assert state.inner_state.mini_step == 0


def test_other_extra_arguments_are_those_of_the_last_call():
    def update(updates, state, params=None, *, value, **extra_args):
        del state, params
        return jax.tree.map(lambda u: value * u, updates), extra_args["retain_grads"]

    tx = optax.GradientTransformationExtraArgs(lambda params: params, update)
    optimizer = multi_steps(tx, 2)
    u, r = random_tree(0), random_tree(1)
    state = optimizer.init(u)
    for value in (2.0, 3.0):
        steps, state = optimizer.update(u, state, u, retain_grads=r, value=value, unknown=None)
    assert_trees_close(steps, jax.tree.map(lambda x: 3 * x, u))
    assert_trees_close(state.inner_state, r)


def test_a_transform_without_extra_arguments_can_be_wrapped():
    us, r = [random_tree(0), random_tree(1)], random_tree(2)
    steps, _ = run(multi_steps(optax.sgd(1.0), 2), us, [r, r])
    assert_trees_close(steps[-1], jax.tree.map(jnp.negative, mean(us)), atol=1e-6)


def test_parameters_of_the_last_call_reach_the_wrapped_transform():
    u = random_tree(0)
    steps, _ = run(multi_steps(optax.add_decayed_weights(1.0), 1), [u], [u], random_tree(1))
    assert_trees_close(steps[0], jax.tree.map(jnp.add, u, random_tree(1)))


@pytest.mark.parametrize("rule", [project_conflicting, gru])
def test_k_of_one_is_the_wrapped_transform(rule):
    us, rs = [random_tree(0), random_tree(1)], [random_tree(2), random_tree(3)]
    found, expected = run(multi_steps(rule(), 1), us, rs), run(rule(), us, rs)
    assert_trees_close(found[0], expected[0], atol=1e-5)
    assert_trees_close(found[1].inner_state, expected[1], atol=1e-5)


def test_masked_parts_are_accumulated_by_themselves():
    mask = {"encoder": True, "decoder": False}
    us, rs = [random_tree(0), random_tree(1)], [random_tree(2), random_tree(3)]
    masked = optax.masked(
        multi_steps(project_conflicting(), 2), mask, mask_compatible_extra_args=True
    )
    steps, _ = run(masked, us, rs)
    expected = project(mean(us)["encoder"], mean(rs)["encoder"])
    assert_trees_close(steps[-1]["encoder"], expected, atol=1e-5)


def test_compiles_once_and_takes_a_donated_state():
    tx = optax.chain(project_conflicting(), optax.adam(0.1), measure_conflict())
    optimizer = multi_steps(tx, 2)
    u, r = random_tree(0), random_tree(1)
    call = jax.jit(lambda state: optimizer.update(u, state, u, retain_grads=r)[1], donate_argnums=0)
    state = call(optimizer.init(u))
    with count_compilations() as compilations:
        for _ in range(4):
            state = call(state)
    assert not compilations
    assert state.mini_step == 1


def test_over_an_axis_both_means_are_averaged():
    us, rs = random_tree(0, k=2), random_tree(1, k=2)
    transform = multi_steps(project_conflicting(axis_name="batch"), 2)

    def two_calls(u, r):
        return run(transform, [u, u], [r, r])[0][-1]

    found = jax.vmap(two_calls, axis_name="batch")(us, rs)
    expected = project(*(jax.tree.map(lambda x: x.mean(0), tree) for tree in (us, rs)))
    for i in range(2):
        assert_trees_close(jax.tree.map(lambda x, i=i: x[i], found), expected, atol=1e-5)


def test_optax_finds_the_accumulators_as_parameters():
    optimizer = multi_steps(chain(), 2)
    state = optimizer.init(random_tree(0))
    ones = optax.tree.map_params(optimizer, lambda x: x + 1, state)
    assert (vector((ones.updates, ones.retain_grads)) == 1).all()
    assert ones.mini_step == 0
