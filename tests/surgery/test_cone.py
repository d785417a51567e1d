"""The cone of k retain gradients: against SciPy and the conditions of optimality."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    assert_permutation_invariant,
    assert_same_structure,
    assert_trees_equal,
    cosine,
    random_tree,
    rows,
    vector,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from gsu_jax.surgery import project, project_cone, project_conflicting
from gsu_jax.surgery._cone import active_rows
from gsu_jax.surgery._projection import project_and_measure

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**31)
exponents = st.integers(-15, 15)
cone_and_conflict = jax.jit(partial(project_and_measure, when="conflict"))


def cone(u, rs):
    return cone_and_conflict(u, rs)[0]


def reference(u, r):
    """The nearest vector of the cone, by SciPy's active-set algorithm in float64."""
    lengths = np.linalg.norm(r, axis=1, keepdims=True)
    r = r / np.where(lengths > 0, lengths, 1)
    weights, _ = nnls(r.T, -u, maxiter=1000)
    return u + r.T @ weights


def problem(seed, k, common=1.0):
    """Gradients that share a direction, as those of k batches do, and an update against it."""
    shared, rng = random_tree(seed, common), np.random.default_rng(seed)
    rs = jax.tree.map(lambda s, r: s[None] + r, shared, random_tree(seed + 1, k=k))
    share = jnp.float32(rng.uniform(-0.5, 1.0))
    return jax.tree.map(lambda x, s: x - share * s, random_tree(seed + 2), shared), rs


def test_in_two_dimensions_corner_edges_and_inside():
    for update, nearest in (
        ([-1, -2], [0, 0]),
        ([-1, 2], [0, 2]),
        ([3, -2], [3, 0]),
        ([3, 2], [3, 2]),
    ):
        np.testing.assert_allclose(cone(jnp.float32(update), jnp.eye(2)), nearest, atol=1e-6)
    # r1 alone turns (-1, 0.1) to (0, 0.1), which conflicts with r2: both are active.
    u, narrow = jnp.float32([-1, 0.1]), jnp.float32([[1, 0], [0, -1]])
    np.testing.assert_allclose(cone(u, narrow), [0, 0], atol=1e-6)
    active = jax.jit(active_rows)
    assert active([u], [narrow]).tolist() == [True, True]
    assert active([u], [jnp.eye(2)]).tolist() == [True, False]


def test_a_conflict_is_seen_near_the_largest_number():
    for incoming, sign in (("gradients", 1), ("steps", -1)):
        update = jnp.float32([-2e38, 1e38]) * sign
        transform = project_conflicting(when="conflict", incoming=incoming)
        nearest, _ = transform.update(update, transform.init(update), retain_grads=jnp.eye(2))
        nearest = np.float64(nearest)
        np.testing.assert_allclose(nearest, [0, sign * 1e38], atol=1e32)


@few
@given(seeds, st.sampled_from([0.0, 1.0, 5.0]))
def test_it_is_the_nearest_vector_of_the_cone(seed, common):
    u, rs = problem(seed, 8, common)
    found, u, r = vector(cone(u, rs)), vector(u), rows(rs)
    np.testing.assert_allclose(found, reference(u, r), atol=1e-5 * np.linalg.norm(u))
    # The Karush-Kuhn-Tucker conditions, with no reference: inside, and no nearer one.
    lengths = np.linalg.norm(r, axis=1) * np.linalg.norm(u)
    assert (r @ found >= -2e-6 * lengths).all()
    assert abs((found - u) @ found) <= 5e-6 * (u @ u)
    multipliers, rest = nnls(r.T, found - u)
    assert rest <= 5e-6 * np.linalg.norm(u)
    assert (multipliers * (r @ found) <= 1e-5 * (u @ u)).all()


@few
@given(seeds, exponents, st.lists(exponents, min_size=8, max_size=8))
def test_every_gradient_may_have_its_own_scale(seed, of_update, of_rows):
    u, rs = problem(seed, 8)
    expected = reference(vector(u), rows(rs))
    scales = jnp.float32(10.0 ** np.array(of_rows))
    u = jax.tree.map(lambda x: jnp.float32(10.0**of_update) * x, u)
    rs = jax.tree.map(lambda r: scales.reshape(-1, *[1] * (r.ndim - 1)) * r, rs)
    size = np.linalg.norm(expected) + 1
    np.testing.assert_allclose(vector(cone(u, rs)) / 10.0**of_update, expected, atol=2e-5 * size)


@pytest.mark.parametrize("sign", [-1, 1])
def test_equal_retain_gradients_are_the_conflict_rule(sign):
    u, r = random_tree(0), random_tree(1)
    rs = jax.tree.map(lambda x: jnp.stack([jnp.float32(sign) * x] * 8), r)
    one = jax.tree.map(lambda x: x[0], rs)
    expected = project(u, one, when="conflict")
    np.testing.assert_allclose(vector(cone(u, rs)), vector(expected), atol=1e-5)


def test_dependent_opposite_and_zero_gradients_are_fine():
    u, rs = problem(0, 2)
    a, b = rows(rs)
    for make in ([a, b, a, a + b, 0 * a], [a, -a, a, a, a]):
        r = np.stack(make)
        found = cone(jnp.float32(vector(u)), jnp.float32(r))
        np.testing.assert_allclose(found, reference(vector(u), r), atol=1e-5)


def test_order_of_the_gradients_makes_no_difference():
    assert_permutation_invariant(cone, *problem(0, 8))


@pytest.mark.parametrize("case", ["agreeing", "zero", "infinite"])
def test_update_is_unchanged_without_a_conflict_or_with_zero_or_infinity(case):
    u, rs = problem(0, 8)
    signs = jnp.float32(np.sign(rows(rs) @ vector(u)) * (-1 if case == "infinite" else 1))
    rs = jax.tree.map(lambda r: signs.reshape(-1, *[1] * (r.ndim - 1)) * r, rs)
    if case == "zero":
        rs = jax.tree.map(jnp.zeros_like, rs)
    if case == "infinite":
        rs["encoder"]["bias"] = rs["encoder"]["bias"].at[1, 4].set(jnp.inf)
    projected, conflict = cone_and_conflict(u, rs)
    assert_trees_equal(projected, u)
    assert not conflict.projected
    assert np.isfinite(conflict.cosine) == (case != "infinite")


def test_steps_after_an_optimizer_are_projected_as_the_gradients_before_it():
    u, rs = problem(0, 8)
    chain = optax.chain(optax.sgd(0.5), project_conflicting(when="conflict", incoming="steps"))
    steps = vector(jax.jit(chain.update)(u, chain.init(u), retain_grads=rs)[0])
    assert np.abs(steps + 0.5 * vector(u)).max() > 0.01
    np.testing.assert_allclose(steps, -0.5 * reference(vector(u), rows(rs)), atol=1e-5)


def test_conflict_is_with_the_mean_of_all_gradients():
    u, rs = problem(0, 8)
    mean = rows(rs).mean(0)
    _, conflict = cone_and_conflict(u, rs)
    assert conflict.projected
    np.testing.assert_allclose(conflict.cosine, cosine(u, mean), atol=1e-5)
    np.testing.assert_allclose(conflict.retain_norm, np.linalg.norm(mean), rtol=1e-5)


def test_it_can_be_batched():
    us, rs = random_tree(0, k=3), random_tree(1, k=3)
    sets = jax.tree.map(lambda r: jnp.stack([r, r], 1), rs)
    assert_same_structure(jax.eval_shape(jax.vmap(project_cone), us, sets), us)
