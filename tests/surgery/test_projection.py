"""The projection: against its definition on the ravelled vector, in float64 NumPy, and optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from gsu_jax.surgery import measure, project, project_subspace
from gsu_jax.surgery._projection import project_and_measure, project_subspace_and_measure

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**31)
exponents = st.integers(-15, 15)
# A few trees, since each new one compiles; the numbers in them vary.
shapes = st.sampled_from([[(1,)], [(3, 2), (), (4,)], [(2, 3, 4), (5, 1), (1, 1), (7,)]])


def random_tree(shapes, seed, scale=1.0, dtype="float32", k=None):
    rng = np.random.default_rng(seed)
    lead = () if k is None else (k,)
    leaves = [jnp.asarray(scale * rng.standard_normal((*lead, *shape)), dtype) for shape in shapes]
    return {"branch": {str(i): leaf for i, leaf in enumerate(leaves[1:])}, "first": [leaves[0]]}


def vector(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def rows(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.asarray(x, np.float64).reshape(len(x), -1) for x in leaves], axis=1)


def reference(u, r):
    """The definition, on the ravelled vectors, in float64."""
    u, r = vector(u), vector(r)
    return u - (u @ r) / (r @ r) * r


def what_is_left(projected, updates, retain_grads):
    """|<p, r>| / (|u| |r|) in float64."""
    p, u, r = vector(projected), vector(updates), vector(retain_grads)
    return abs(p @ r) / (np.linalg.norm(u) * np.linalg.norm(r))


@few
@given(shapes, seeds, exponents, exponents)
def test_projection_is_the_definition_on_the_ravelled_vector_at_all_scales(shapes, seed, e, f):
    u, r = random_tree(shapes, seed, 10.0**e), random_tree(shapes, seed + 1, 10.0**f)
    p = project(u, r)
    assert jax.tree.structure(p) == jax.tree.structure(u)
    np.testing.assert_allclose(
        vector(p), reference(u, r), rtol=0, atol=2e-6 * np.linalg.norm(vector(u))
    )
    assert what_is_left(p, u, r) <= 1e-6


@few
@given(shapes, seeds)
def test_projection_equals_optax_hyperplane_and_conflict_its_halfspace(shapes, seed):
    u, r = random_tree(shapes, seed), random_tree(shapes, seed + 1)
    minus_r = jax.tree.map(jnp.negative, r)
    size = np.linalg.norm(vector(u))
    np.testing.assert_allclose(
        vector(project(u, r)),
        vector(optax.projections.projection_hyperplane(u, r, 0.0)),
        atol=1e-5 * size,
    )
    np.testing.assert_allclose(
        vector(project(u, r, when="conflict")),
        vector(optax.projections.projection_halfspace(u, minus_r, 0.0)),
        atol=1e-5 * size,
    )


def test_projection_equals_the_formula_on_ravel_pytree():
    u, r = random_tree([(3, 4), (5,)], 0), random_tree([(3, 4), (5,)], 1)
    flat_u, unravel = ravel_pytree(u)
    flat_r, _ = ravel_pytree(r)
    expected = unravel(flat_u - (flat_u @ flat_r) / (flat_r @ flat_r) * flat_r)
    np.testing.assert_allclose(vector(project(u, r)), vector(expected), rtol=1e-5, atol=1e-6)


def make_pair(kind, n, seed=0):
    rng = np.random.default_rng(seed)
    u, r = rng.standard_normal(n), rng.standard_normal(n)
    if kind == "offset":
        return u + 100, r + 100
    if kind == "constant":
        return np.full(n, 1.1), np.full(n, 0.3)
    if kind != "random":
        cosine = float(kind)
        unit = r / np.linalg.norm(r)
        across = u - (u @ unit) * unit
        across /= np.linalg.norm(across)
        u = np.sqrt(n) * (cosine * unit + np.sqrt(1 - cosine**2) * across)
    return u, r


NEARLY_OPPOSITE = str(-1 + 1e-8)
PAIRS = ["random", "offset", "constant", "-0.99", NEARLY_OPPOSITE]


@pytest.mark.parametrize("n", [3, 1000, 100_000])
@pytest.mark.parametrize("kind", PAIRS)
def test_projected_update_is_orthogonal_to_retain_gradient(kind, n):
    u, r = make_pair(kind, n)
    run = jax.jit(project)
    for scale_u in (1e-15, 1.0, 1e15):
        for scale_r in (1e-15, 1.0, 1e15):
            a, b = jnp.float32(scale_u * u), jnp.float32(scale_r * r)
            assert what_is_left(run(a, b), a, b) <= 1e-6


@pytest.mark.parametrize("kind", ["offset", NEARLY_OPPOSITE])
def test_projected_update_of_ten_million_parameters_is_orthogonal(kind):
    u, r = (jnp.float32(x) for x in make_pair(kind, 10**7))
    assert what_is_left(jax.jit(project)(u, r), u, r) <= 1e-6


def test_what_is_orthogonal_already_stays_and_what_is_parallel_vanishes():
    u, r = jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])
    np.testing.assert_array_equal(project(u, r), u)
    np.testing.assert_array_equal(project(3 * r, r), [0.0, 0.0])


@few
@given(seeds, st.floats(0.1, 10.0))
def test_projection_is_idempotent_and_blind_to_the_length_of_r(seed, factor):
    u, r = random_tree([(7,), (2, 3)], seed), random_tree([(7,), (2, 3)], seed + 1)
    p = project(u, r)
    np.testing.assert_allclose(vector(project(p, r)), vector(p), atol=1e-5)
    scaled = jax.tree.map(lambda x: factor * x, r)
    np.testing.assert_allclose(vector(project(u, scaled)), vector(p), atol=1e-5)


def test_conflict_projects_only_against_the_retain_gradient():
    r = jnp.array([1.0, 0.0])
    for u, expected in (([-1.0, 1.0], [0.0, 1.0]), ([1.0, 1.0], [1.0, 1.0])):
        np.testing.assert_array_equal(project(jnp.array(u), r, when="conflict"), expected)


def test_conflict_of_steps_has_the_other_sign():
    r = jnp.array([1.0, 0.0])
    for u, expected in (([-1.0, 1.0], [-1.0, 1.0]), ([1.0, 1.0], [0.0, 1.0])):
        p, conflict = project_and_measure(jnp.array(u), r, when="conflict", incoming="steps")
        np.testing.assert_array_equal(p, expected)
        assert bool(conflict.projected) == (u != expected)
        assert np.sign(conflict.cosine) == np.sign(u[0])


@pytest.mark.parametrize("zero", ["updates", "retain_grads"])
def test_zero_gradient_projects_nothing_and_has_no_nan(zero):
    x, nought = {"a": jnp.arange(3.0), "b": jnp.ones(2)}, {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    u, r = (nought, x) if zero == "updates" else (x, nought)
    for when in ("always", "conflict"):
        for scope in ("global", "leaf"):
            p, conflict = project_and_measure(u, r, when=when, scope=scope)
            np.testing.assert_array_equal(vector(p), vector(u))
            assert conflict.cosine == 0.0
    slope = jax.grad(lambda r: sum(x.sum() for x in jax.tree.leaves(project(u, r))))(r)
    assert np.isfinite(vector(slope)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_retain_gradient_leaves_the_update_and_shows(bad):
    u = {"a": jnp.arange(3.0), "b": jnp.ones(2)}
    r = {"a": jnp.array([1.0, bad, 1.0]), "b": jnp.ones(2)}
    p, conflict = project_and_measure(u, r)
    np.testing.assert_array_equal(vector(p), vector(u))
    assert np.isnan(conflict.cosine)
    assert not conflict.projected
    stacked = jax.tree.map(lambda x: jnp.stack([x, x + 1]), r)
    p, conflict = project_subspace_and_measure(u, stacked)
    np.testing.assert_array_equal(vector(p), vector(u))
    assert np.isnan(conflict.cosine)
    assert not conflict.projected


def test_leaf_scope_projects_each_leaf_by_itself():
    shapes = [(4,), (2, 3), (5,)]
    u, r = random_tree(shapes, 0), random_tree(shapes, 1)
    expected = jax.tree.map(lambda a, b: project(a, b), u, r)
    np.testing.assert_allclose(
        vector(project(u, r, scope="leaf")), vector(expected), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"encoder": "e", "decoder": "d"},
        {"encoder": {"w": 0, "b": 0}, "decoder": {"w": 1, "b": 1}},
    ],
)
def test_labels_project_per_module_and_may_be_a_prefix(labels):
    rng = np.random.default_rng(0)
    u, r = (
        {
            m: {"w": jnp.float32(rng.normal(size=(3, 2))), "b": jnp.float32(rng.normal(size=2))}
            for m in ("encoder", "decoder")
        }
        for _ in range(2)
    )
    p = project(u, r, scope=labels)
    for module in ("encoder", "decoder"):
        assert what_is_left(p[module], u[module], r[module]) <= 1e-6
        assert what_is_left(p[module]["w"], u[module]["w"], r[module]["w"]) > 1e-3


def test_leaves_of_very_different_scales_are_each_projected_by_themselves():
    u = {"small": jnp.float32([1e-15, 2e-15]), "large": jnp.float32([1e15, -3e15])}
    r = {"small": jnp.float32([1e15, 1e15]), "large": jnp.float32([1e-15, 2e-15])}
    p = project(u, r, scope="leaf")
    for name in u:
        assert what_is_left(p[name], u[name], r[name]) <= 1e-6


@few
@given(shapes, seeds, exponents, exponents, st.sampled_from(["global", "leaf"]))
def test_measured_conflict_is_that_of_the_whole_vectors(shapes, seed, e, f, scope):
    u, r = random_tree(shapes, seed, 10.0**e), random_tree(shapes, seed + 1, 10.0**f)
    _, conflict = project_and_measure(u, r, scope=scope)
    a, b = vector(u), vector(r)
    np.testing.assert_allclose(conflict.update_norm, np.linalg.norm(a), rtol=1e-5)
    np.testing.assert_allclose(conflict.retain_norm, np.linalg.norm(b), rtol=1e-5)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(conflict.cosine, cosine, atol=1e-5)
    assert conflict.projected
    for ours, again in zip(measure(u, r)[:3], conflict[:3], strict=True):
        np.testing.assert_allclose(ours, again, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 8, 20])
@few
@given(seeds, exponents, exponents)
def test_subspace_projection_is_the_least_squares_residual(k, seed, e, f):
    shapes = [(5, 4), (), (13,)]
    u = random_tree(shapes, seed, 10.0**e)
    r = random_tree(shapes, seed + 1, 10.0**f, k=k)
    p = project_subspace(u, r)
    basis, _ = np.linalg.qr(rows(r).T)
    a = vector(u)
    expected = a - basis @ (basis.T @ a)
    np.testing.assert_allclose(vector(p), expected, rtol=0, atol=3e-6 * np.linalg.norm(a))


def left_of_span(p, u, r):
    r, u = rows(r), vector(u)
    norms = np.maximum(np.linalg.norm(r, axis=1), 1e-300)
    return np.max(np.abs(r @ vector(p)) / norms) / np.linalg.norm(u)


@pytest.mark.parametrize("n", [20, 10_000])
@pytest.mark.parametrize(
    "case", ["equal", "sum", "zero", "scales", "close 1e-2", "close 1e-4", "close 1e-6", "offset"]
)
def test_dependent_and_nearly_dependent_sets_are_projected_out(case, n):
    rng = np.random.default_rng(0)
    u, a, b = rng.standard_normal((3, n))
    r = {
        "equal": [a, b, a],
        "sum": [a, b, a + b],
        "zero": [a, 0 * b, b],
        "scales": [1e-15 * a, 1e15 * b, a - b],
        "offset": [a + 100, b + 100],
    }.get(case) or [a, a + float(case.split()[1]) * b, b]
    u, r = jnp.float32(u), jnp.float32(np.stack(r))
    p = project_subspace(u, r)
    assert left_of_span(p, u, r) <= 2e-6
    if case in ("equal", "sum", "zero"):  # nothing beyond the span of a and b is taken
        np.testing.assert_allclose(p, project_subspace(u, jnp.float32([a, b])), atol=1e-5)


def test_subspace_of_one_equals_the_projection():
    shapes = [(4,), (2, 3)]
    u, r = random_tree(shapes, 0), random_tree(shapes, 1)
    p, conflict = project_subspace_and_measure(u, jax.tree.map(lambda x: x[None], r))
    expected, expected_conflict = project_and_measure(u, r)
    np.testing.assert_allclose(vector(p), vector(expected), atol=1e-6)
    np.testing.assert_allclose(conflict, expected_conflict, rtol=1e-5)


def test_a_set_of_zeros_projects_nothing():
    u = jnp.arange(3.0)
    p, conflict = project_subspace_and_measure(u, jnp.zeros((2, 3)))
    np.testing.assert_array_equal(p, u)
    assert not conflict.projected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_updates_keep_their_dtype_and_products_are_float32(dtype):
    shapes = [(40, 30), (7,)]
    u, r = random_tree(shapes, 0, dtype=dtype), random_tree(shapes, 1, dtype="bfloat16")
    mixed = u | {"first": [u["first"][0].astype(jnp.bfloat16)]}
    for updates in (u, mixed):
        p = project(updates, r)
        assert jax.tree.map(lambda x: x.dtype, p) == jax.tree.map(lambda x: x.dtype, updates)
        own = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(updates))
        np.testing.assert_allclose(vector(p), reference(updates, r), rtol=own, atol=own)
        stacked = jax.tree.map(lambda x: x[None], r)
        p = project_subspace(updates, stacked)
        assert jax.tree.map(lambda x: x.dtype, p) == jax.tree.map(lambda x: x.dtype, updates)


def test_float64_is_kept_and_exact_to_float64():
    with jax.enable_x64(True):
        u, r = (random_tree([(50,), (3, 4)], s, dtype="float64") for s in (0, 1))
        p = project(u, r)
        assert {x.dtype for x in jax.tree.leaves(p)} == {np.dtype("float64")}
        assert what_is_left(p, u, r) <= 1e-15
        assert what_is_left(project_subspace(u, jax.tree.map(lambda x: x[None], r)), u, r) <= 1e-15


def test_jit_vmap_and_scan_agree_with_the_plain_call():
    shapes = [(6,), (2, 3)]
    us, rs = random_tree(shapes, 0, k=4), random_tree(shapes, 1, k=4)
    one_by_one = [
        project(*jax.tree.map(lambda x, i=i: x[i], (us, rs)), scope="leaf") for i in range(4)
    ]
    expected = jax.tree.map(lambda *x: jnp.stack(x), *one_by_one)

    def leafwise(u, r):
        return project(u, r, scope="leaf")

    mapped = jax.jit(jax.vmap(leafwise))(us, rs)
    _, scanned = jax.lax.scan(lambda c, x: (c, leafwise(*x)), None, (us, rs))
    for result in (mapped, scanned):
        np.testing.assert_allclose(vector(result), vector(expected), rtol=1e-5, atol=1e-6)


def test_vmap_over_a_large_and_a_normal_pair_keeps_both():
    u = jnp.float32([[1.0, 2.0, 3.0], [1e25, 2e25, 3e25]])
    r = jnp.float32([[1.0, 0.0, 1.0], [1e-25, 0.0, 1e-25]])
    for p in (jax.vmap(project)(u, r)[1] / 1e25, project(u[0], r[0])):
        np.testing.assert_allclose(p, [-1.0, 2.0, 1.0], rtol=1e-6)


def test_no_leaves_is_a_tree_too():
    assert project({}, {}) == {}
    assert project({"a": None}, {"a": None}) == {"a": None}
    assert project_subspace({}, {}) == {}


def test_missing_leaf_is_named():
    u = {"decoder": {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))}}
    with pytest.raises(ValueError, match="retain_grads has no leaf decoder/kernel; was it comp"):
        project(u, {"decoder": {"bias": jnp.ones(2)}})
    with pytest.raises(ValueError, match="a leaf decoder/kernel that the updates have not"):
        project({"decoder": {"bias": jnp.ones(2)}}, u)
    with pytest.raises(ValueError, match="in other containers"):
        project([jnp.ones(2)], (jnp.ones(2),))


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"leaf a/0 has shape \(2, 3\).* and \(3, 2\) in retain"):
        project({"a": [jnp.ones((2, 3))]}, {"a": [jnp.ones((3, 2))]})
    with pytest.raises(ValueError, match="goes through project_subspace"):
        project({"a": jnp.ones(3)}, {"a": jnp.ones((5, 3))})
    with pytest.raises(ValueError, match=r"leaf b has shape \(2,\).* and \(4, 2\) in retain"):
        project_subspace(
            {"a": jnp.ones(3), "b": jnp.ones(2)}, {"a": jnp.ones((5, 3)), "b": jnp.ones((4, 2))}
        )
    with pytest.raises(ValueError, match="k >= 1"):
        project_subspace(jnp.ones(3), jnp.ones((0, 3)))


def test_leaves_that_are_not_floating_are_named():
    with pytest.raises(TypeError, match="updates has a leaf step of dtype int32"):
        project({"step": jnp.arange(3)}, {"step": jnp.ones(3)})
    with pytest.raises(TypeError, match="retain_grads has a leaf step of dtype int32"):
        project_subspace({"step": jnp.ones(3)}, {"step": jnp.ones((2, 3), jnp.int32)})
    with pytest.raises(TypeError, match="complex64"):
        project(jnp.ones(2, jnp.complex64), jnp.ones(2))


def test_unknown_options_are_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"when .*got 'never'"):
        project(jnp.ones(2), jnp.ones(2), when="never")
    with pytest.raises(ValueError, match=r"scope .*got 'module'"):
        project(jnp.ones(2), jnp.ones(2), scope="module")
    with pytest.raises(ValueError, match="scope is not a tree of labels for the updates"):
        project({"a": jnp.ones(2)}, {"a": jnp.ones(2)}, scope={"b": 0})
