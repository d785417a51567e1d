"""The projection off one retain gradient: its definition in float64 NumPy, and optax."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    assert_finite,
    assert_orthogonal,
    assert_same_structure,
    assert_trees_close,
    assert_trees_equal,
    random_tree,
    vector,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from gsu_jax.surgery import project, project_cone, project_subspace
from gsu_jax.surgery._projection import project_and_measure

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**31)
exponents = st.integers(-15, 15)
always, on_conflict = jax.jit(project), jax.jit(partial(project, when="conflict"))
leafwise = jax.jit(partial(project, scope="leaf"))


def reference(u, r, when="always"):
    """The definition, on the ravelled vectors, in float64."""
    u, r = vector(u), vector(r)
    return u if when == "conflict" and u @ r >= 0 else u - (u @ r) / (r @ r) * r


@few
@given(seeds, exponents, exponents)
def test_projection_is_its_definition_at_all_scales(seed, e, f):
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    size = np.linalg.norm(vector(u))
    for when, function in (("always", always), ("conflict", on_conflict)):
        p = function(u, r)
        assert_same_structure(p, u)
        np.testing.assert_allclose(vector(p), reference(u, r, when), rtol=0, atol=2e-6 * size)
    assert_orthogonal(always(u, r), u, r)


def test_projection_is_the_formula_on_ravel_pytree():
    u, r = random_tree(0), random_tree(1)
    (flat_u, unravel), (flat_r, _) = ravel_pytree(u), ravel_pytree(r)
    expected = unravel(flat_u - (flat_u @ flat_r) / (flat_r @ flat_r) * flat_r)
    assert_trees_close(always(u, r), expected, rtol=1e-5)


def test_projection_is_optax_hyperplane_and_conflict_its_halfspace():
    for seed in range(4):
        u, r = random_tree(seed), random_tree(10 + seed)
        with jax.numpy_dtype_promotion("standard"):
            plane = optax.projections.projection_hyperplane(u, r, 0.0)
            minus_r = jax.tree.map(jnp.negative, r)
            halfspace = optax.projections.projection_halfspace(u, minus_r, 0.0)
        assert_trees_close(always(u, r), plane, rtol=0, atol=5e-5)
        assert_trees_close(on_conflict(u, r), halfspace, rtol=0, atol=5e-5)


def make_pair(kind, n):
    rng = np.random.default_rng(0)
    u, r = rng.standard_normal((2, n))
    if kind == "offset":
        return u + 100, r + 100
    if kind == "constant":
        return np.full(n, 1.1), np.full(n, 0.3)
    if kind != "random":
        unit = r / np.linalg.norm(r)
        across = u - (u @ unit) * unit
        across /= np.linalg.norm(across)
        u = np.sqrt(n) * (kind * unit + np.sqrt(1 - kind**2) * across)
    return u, r


@pytest.mark.parametrize("n", [3, 100_000])
@pytest.mark.parametrize("kind", ["random", "offset", "constant", -0.99, -1 + 1e-8])
def test_projected_update_is_orthogonal_to_retain_gradient(kind, n):
    u, r = make_pair(kind, n)
    for e in (-15, 0, 15):
        for f in (-15, 0, 15):
            a, b = jnp.float32(10.0**e * u), jnp.float32(10.0**f * r)
            assert_orthogonal(always(a, b), a, b)


@pytest.mark.parametrize("kind", ["offset", -1 + 1e-8])
def test_projected_update_of_ten_million_parameters_is_orthogonal(kind):
    u, r = (jnp.float32(x) for x in make_pair(kind, 10**7))
    assert_orthogonal(always(u, r), u, r)


def test_orthogonal_update_is_unchanged_and_parallel_update_vanishes():
    u, r = jnp.float32([1, 1]), jnp.float32([1, -1])
    np.testing.assert_array_equal(always(u, r), u)
    np.testing.assert_array_equal(always(3 * r, r), [0, 0])


@few
@given(seeds, st.floats(0.1, 10.0))
def test_projection_is_idempotent_and_ignores_the_length_of_r(seed, factor):
    u, r = random_tree(seed), random_tree(seed + 1)
    p = always(u, r)
    assert_trees_close(always(p, r), p, atol=1e-5)
    assert_trees_close(always(u, jax.tree.map(lambda x: factor * x, r)), p, atol=1e-5)


def test_conflict_of_steps_has_the_opposite_sign():
    r = jnp.float32([1, 0])
    for u, expected in (([-1, 1], [-1, 1]), ([1, 1], [0, 1]), ([0, 1], [0, 1])):
        p, conflict = project_and_measure(jnp.float32(u), r, when="conflict", incoming="steps")
        np.testing.assert_array_equal(p, expected)
        assert bool(conflict.projected) == (u != expected)
        assert np.sign(conflict.cosine) == np.sign(u[0])


def test_orthogonal_gradients_do_not_conflict():
    u, r = jnp.float32([0, 1]), jnp.float32([1, 0])
    assert not project_and_measure(u, r, when="conflict")[1].projected


@jax.jit
def project_and_slope(u, r):
    """The projection leaf by leaf, its conflict, and the derivative of its sum in r."""

    def total(r):
        p, conflict = project_and_measure(u, r, scope="leaf")
        return sum(x.sum() for x in jax.tree.leaves(p)), (p, conflict)

    return jax.grad(total, has_aux=True)(r)


@pytest.mark.parametrize("zero", ["updates", "retain_grads"])
def test_zero_gradient_projects_nothing_and_has_a_finite_derivative(zero):
    x, nought = {"a": jnp.arange(3.0), "b": jnp.ones(2)}, {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    u, r = (nought, x) if zero == "updates" else (x, nought)
    slope, (p, conflict) = project_and_slope(u, r)
    assert_trees_equal(p, u)
    assert conflict.cosine == 0.0
    assert bool(conflict.projected) == (zero == "updates")
    assert_finite(slope)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["updates", "retain_grads"])
def test_non_finite_group_is_left_alone_and_the_others_are_projected(bad, where):
    good = {"a": jnp.float32([1, 2]), "b": jnp.float32([1, 1])}
    wrong = good | {"a": jnp.float32([1, bad])}
    u, r = (wrong, good) if where == "updates" else (good, wrong)
    p, conflict = project_and_measure(u, r, scope="leaf")
    np.testing.assert_array_equal(p["a"], u["a"])
    np.testing.assert_array_equal(p["b"], [0, 0])
    assert np.isnan(conflict.cosine)
    assert conflict.projected


def test_leaf_scope_projects_each_leaf_by_itself():
    u, r = random_tree(0), random_tree(1)
    expected = jax.tree.map(reference, u, r)
    np.testing.assert_allclose(vector(leafwise(u, r)), vector(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        {"encoder": "e", "decoder": "d"},
        {"encoder": {"bias": 0, "kernel": 0, "scale": 0}, "decoder": {"kernel": 1}},
    ],
    ids=["prefix", "tree"],
)
def test_labels_project_per_module(labels):
    u, r = random_tree(0), random_tree(1)
    p = project(u, r, scope=labels)
    for module in ("encoder", "decoder"):
        np.testing.assert_allclose(vector(p[module]), reference(u[module], r[module]), atol=2e-6)


def test_leaves_of_very_different_scales_are_each_projected():
    u = {"small": jnp.float32([1e-15, 2e-15]), "large": jnp.float32([1e15, -3e15])}
    r = {"small": jnp.float32([1e15, 1e15]), "large": jnp.float32([1e-15, 2e-15])}
    p = leafwise(u, r)
    for name in u:
        assert_orthogonal(p[name], u[name], r[name])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed"])
def test_updates_keep_their_dtype_and_products_are_float32(dtype):
    u, r = random_tree(0, dtype="float16" if dtype == "mixed" else dtype), random_tree(1)
    if dtype == "mixed":
        u["encoder"] = random_tree(0, dtype="bfloat16")["encoder"]
    p = always(u, r)
    assert_same_structure(p, u)
    eps = float(jnp.finfo("float16" if dtype == "float16" else "bfloat16").eps)
    np.testing.assert_allclose(vector(p), reference(u, r), rtol=eps, atol=2e-6)


def test_float64_is_exact_to_float64():
    with jax.enable_x64(True):
        u, r = random_tree(0, dtype="float64"), random_tree(1, dtype="float64")
        p = always(u, r)
        assert_same_structure(p, u)
        assert_orthogonal(p, u, r, 1e-15)


def test_vmap_over_a_large_and_a_normal_pair_keeps_both():
    u = jnp.float32([[1, 2, 3], [1e25, 2e25, 3e25]])
    r = jnp.float32([[1, 0, 1], [1e-25, 0, 1e-25]])
    p = jax.jit(jax.vmap(project))(u, r) / jnp.float32([[1], [1e25]])
    np.testing.assert_allclose(p, [[-1, 2, 1]] * 2, rtol=1e-6)


def test_a_set_goes_to_the_subspace_or_the_cone():
    def program(function):
        return str(jax.make_jaxpr(function)(random_tree(0), random_tree(1, k=2)))

    assert program(project) == program(project_subspace)
    assert program(partial(project, when="conflict")) == program(project_cone)


@pytest.mark.parametrize("scope", ["leaf", {"encoder": 0, "decoder": 1}], ids=str)
def test_a_set_is_projected_out_over_the_whole_tree_only(scope):
    with pytest.raises(ValueError, match="scope"):
        project(random_tree(0), random_tree(1, k=2), scope=scope)


def test_empty_trees_are_trees():
    assert project({}, {}) == {}
    assert project({"a": None}, {"a": None}) == {"a": None}
    assert project_subspace({}, {}) == {}
    assert project_cone({}, {}) == {}


@pytest.mark.parametrize("option", ["when", "scope"])
def test_unknown_option_is_refused(option):
    with pytest.raises(ValueError, match=rf"{option}.*got 'never'"):
        project(jnp.ones(2), jnp.ones(2), **{option: "never"})


def test_labels_of_another_structure_are_refused():
    with pytest.raises(ValueError, match="scope"):
        project({"a": jnp.ones(2)}, {"a": jnp.ones(2)}, scope={"b": 0})
