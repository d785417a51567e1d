"""The span of k retain gradients: against QR in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_permutation_invariant,
    assert_same_structure,
    assert_trees_close,
    cosine,
    random_tree,
    rows,
    vector,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery import project, project_subspace
from gsu_jax.surgery._projection import project_and_measure
from gsu_jax.surgery._span import normal_equations, orthonormal_basis

few = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**31)
exponents = st.integers(-15, 15)
subspace, measured = jax.jit(project_subspace), jax.jit(project_and_measure)


def reference(u, rs):
    """The least-squares residual of u on the rows of rs."""
    u, (basis, _) = vector(u), np.linalg.qr(rows(rs).T)
    return u - basis @ (basis.T @ u)


@pytest.mark.parametrize("k", [3, 20])
@few
@given(seeds, exponents, exponents)
def test_subspace_projection_is_the_least_squares_residual(k, seed, e, f):
    u, rs = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f, k=k)
    p, size = subspace(u, rs), np.linalg.norm(vector(u))
    assert_same_structure(p, u)
    np.testing.assert_allclose(vector(p), reference(u, rs), rtol=0, atol=4e-6 * size)


@few
@given(seeds, exponents, exponents, st.integers(-3, 0))
def test_rows_far_from_dependent_and_close_to_it_agree(seed, e, f, closeness):
    """Rows on both sides of `INDEPENDENT`: the normal equations and the basis."""
    u, base = random_tree(seed, 10.0**e), random_tree(seed + 1)
    rs = jax.tree.map(
        lambda b, x: jnp.float32(10.0**f) * (b[None] + jnp.float32(10.0**closeness) * x),
        base,
        random_tree(seed + 2, k=3),
    )
    p, conflict = measured(u, rs)
    size, left = np.linalg.norm(vector(u)), np.abs(rows(rs) @ vector(p)).max()
    atol = size * 3e-6 / 10.0**closeness
    np.testing.assert_allclose(vector(p), reference(u, rs), rtol=0, atol=atol)
    assert left <= 2e-6 * size * np.linalg.norm(rows(rs), axis=1).max()
    mean = rows(rs).mean(0)
    np.testing.assert_allclose(conflict.update_norm, size, rtol=1e-5)
    np.testing.assert_allclose(conflict.retain_norm, np.linalg.norm(mean), rtol=1e-5)
    np.testing.assert_allclose(conflict.cosine, cosine(u, mean), atol=1e-5)
    assert conflict.projected


@pytest.mark.parametrize("n", [20, 10_000])
@pytest.mark.parametrize(
    "case", ["equal", "sum", "zero", "scales", "offset", 1e-2, 1e-4, 1e-6], ids=str
)
def test_dependent_and_nearly_dependent_sets_are_projected_out(case, n):
    u, a, b = np.random.default_rng(0).standard_normal((3, n))
    rs = {
        "equal": [a, b, a],
        "sum": [a, b, a + b],
        "zero": [a, 0 * b, b],
        "scales": [1e-15 * a, 1e15 * b, a - b],
        "offset": [a + 100, b + 100, a - b],
    }.get(case)
    u, rs = jnp.float32(u), jnp.float32(np.stack(rs or [a, a + case * b, b]))
    p, r = vector(subspace(u, rs)), rows([rs])
    norms = np.maximum(np.linalg.norm(r, axis=1), 1e-300)
    assert np.max(np.abs(r @ p) / norms) <= 2e-6 * np.linalg.norm(u)
    if case in ("equal", "sum", "zero"):  # nothing beyond the span of a and b is removed
        np.testing.assert_allclose(p, reference(u, [jnp.float32([a, b])]), atol=1e-5)


def test_order_of_the_gradients_makes_no_difference():
    assert_permutation_invariant(subspace, random_tree(0), random_tree(1, k=3))


def test_subspace_of_one_is_the_projection():
    u, r = random_tree(0), random_tree(1)
    p, conflict = measured(u, jax.tree.map(lambda x: x[None], r))
    expected, expected_conflict = measured(u, r)
    assert_trees_close(p, expected)
    np.testing.assert_allclose(conflict, expected_conflict, rtol=1e-5)
    assert_trees_close(p, jax.jit(project)(u, r))


def test_subspace_of_two_equal_gradients_is_the_projection():
    u, r = jnp.float32([1, 2, 3]), jnp.float32([1, 1, 0])
    p, conflict = measured(u, jnp.stack([r, r]))
    np.testing.assert_allclose(p, [-0.5, 0.5, 3], rtol=1e-5)
    assert conflict.projected


def test_cosine_with_the_mean_of_a_set_is_never_beyond_one():
    for seed in range(20):
        rows = jnp.float32(np.random.default_rng(seed).normal(size=(2, 64)))
        for sign in (1, -1):
            cosine = measured(sign * rows.mean(0), rows)[1].cosine
            assert abs(cosine) <= 1
            np.testing.assert_allclose(cosine, sign, rtol=1e-6)


def test_a_set_of_zeros_projects_nothing():
    u = jnp.arange(3.0)
    p, conflict = measured(u, jnp.zeros((2, 3)))
    np.testing.assert_array_equal(p, u)
    assert (conflict.cosine, conflict.retain_norm, conflict.projected) == (0, 0, False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["updates", "retain_grads"])
def test_non_finite_entry_leaves_the_update_and_shows(bad, where):
    u, rs = jnp.arange(3.0), jnp.float32([[1, 2, 1], [0, 1, 1]])
    if where == "updates":
        u = u.at[1].set(bad)
    else:
        rs = rs.at[1, 0].set(bad)
    for some in (rs, rs[1:]) if where == "retain_grads" else (rs,):
        p, conflict = measured(u, some)
        np.testing.assert_array_equal(p, u)
        assert np.isnan(conflict.cosine)
        assert not conflict.projected


@pytest.mark.parametrize(("closeness", "usable"), [(1.0, True), (1e-2, False), (0.0, False)])
def test_normal_equations_know_where_they_are_unusable(closeness, usable):
    a, b = jnp.float32(np.random.default_rng(0).standard_normal((2, 64)))
    rs = jnp.stack([a, a + closeness * b])
    assert bool(normal_equations([rs], [b]).usable) == usable
    assert not normal_equations([rs.at[0, 0].set(jnp.nan)], [b]).usable
    assert not normal_equations([1e-30 * rs], [b]).usable
    assert not normal_equations([rs], [0 * b]).usable


def test_normal_equations_solve_least_squares():
    rs, u = random_tree(0, k=3), random_tree(1)
    normal = normal_equations(jax.tree.leaves(rs), jax.tree.leaves(u))
    expected, *_ = np.linalg.lstsq(rows(rs).T, vector(u))
    np.testing.assert_allclose(normal.solve(normal.along), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(normal.update_square, vector(u) @ vector(u), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "rank"),
    [
        (lambda a, b: [a, b], 2),
        (lambda a, b: [a, a], 1),
        (lambda a, b: [a, 0 * b], 1),
        (lambda a, b: [1e-30 * a, 1e30 * b], 2),
        (lambda a, b: [a, a + 1e-5 * b], 2),
        (lambda a, b: [0 * a, 0 * b], 0),
    ],
    ids=["independent", "equal", "zero", "scales", "close", "zeros"],
)
def test_rank_and_orthonormality_of_a_basis(make, rank):
    a, b = np.random.default_rng(0).standard_normal((2, 64))
    basis, found = orthonormal_basis([jnp.float32(np.stack(make(a, b)))])
    assert found == rank
    assert np.any(rows(basis), axis=1).sum() == rank
    values = np.linalg.eigvalsh(rows(basis) @ rows(basis).T)
    np.testing.assert_allclose(values, [0] * (2 - rank) + [1] * rank, atol=1e-5)


def test_rank_of_infinite_rows_is_zero():
    assert orthonormal_basis([jnp.float32([[1, 2], [3, np.inf]])])[1] == 0


def test_float64_is_exact_to_float64():
    with jax.enable_x64(True):
        u, rs = random_tree(0, dtype="float64"), random_tree(1, dtype="float64", k=2)
        p = subspace(u, rs)
        assert_same_structure(p, u)
        np.testing.assert_allclose(vector(p), reference(u, rs), atol=1e-14)
        close = jax.tree.map(lambda r: jnp.stack([r[0], r[0] + 1e-9 * r[1]]), rs)
        np.testing.assert_allclose(vector(subspace(u, close)), reference(u, close), atol=1e-6)


def test_low_precision_updates_keep_their_dtype():
    u, rs = random_tree(0, dtype="bfloat16"), random_tree(1, dtype="bfloat16", k=2)
    p = subspace(u, rs)
    assert_same_structure(p, u)
    np.testing.assert_allclose(vector(p), reference(u, rs), rtol=0.01, atol=1e-5)
