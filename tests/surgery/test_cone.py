"""The cone of k retain gradients: against SciPy and the conditions of optimality."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from gsu_jax.surgery import project, project_cone, project_conflicting
from gsu_jax.surgery._cone import project_set_and_measure

few = settings(max_examples=15, deadline=None)
SHAPES = [(3, 2), (), (12,)]
SIZE = 19


def as_tree(values):
    """A tree of float32 leaves from vectors of 19 numbers, or from k of them."""
    values, leaves, start = np.asarray(values), {}, 0
    for shape in SHAPES:
        size = int(np.prod(shape))
        part = values[..., start : start + size].reshape(values.shape[:-1] + shape)
        leaves[str(shape)], start = jnp.asarray(part, jnp.float32), start + size
    return leaves


def as_rows(tree, lead=()):
    leaves = [np.asarray(tree[str(shape)], np.float64) for shape in SHAPES]
    return np.concatenate([leaf.reshape(*lead, -1) for leaf in leaves], -1)


def reference(u, rows):
    """The nearest vector of the cone, by SciPy's active-set algorithm in float64."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(lengths > 0, lengths, 1)
    weights, _ = nnls(rows.T, -u, maxiter=1000)
    return u + rows.T @ weights


def problem(seed, k, common=1.0):
    """Gradients that share a direction, as those of k batches do, and an update against it."""
    rng = np.random.default_rng(seed)
    shared = common * rng.standard_normal(SIZE)
    rows = shared + rng.standard_normal((k, SIZE))
    return rng.standard_normal(SIZE) - rng.uniform(-0.5, 1.0) * shared, rows


cone = jax.jit(project_cone)
cone_and_conflict = jax.jit(partial(project_set_and_measure, when="conflict"))


def test_in_two_dimensions_the_corner_the_edges_and_the_inside():
    retain = jnp.eye(2)
    for update, nearest in (
        ([-1.0, -2.0], [0.0, 0.0]),
        ([-1.0, 2.0], [0.0, 2.0]),
        ([3.0, -2.0], [3.0, 0.0]),
        ([3.0, 2.0], [3.0, 2.0]),
    ):
        np.testing.assert_allclose(cone(jnp.array(update), retain), nearest, atol=1e-6)
    # r1 alone turns (-1, 0.1) to (0, 0.1), which conflicts with r2: both are active.
    narrow = jnp.array([[1.0, 0.0], [0.0, -1.0]])
    np.testing.assert_allclose(cone(jnp.array([-1.0, 0.1]), narrow), [0.0, 0.0], atol=1e-6)


@few
@given(st.integers(0, 2**31), st.sampled_from([2, 4, 8]), st.sampled_from([0.0, 1.0, 5.0]))
def test_it_is_the_nearest_vector_of_the_cone(seed, k, common):
    u, rows = problem(seed, k, common)
    found = as_rows(cone(as_tree(u), as_tree(rows)))
    np.testing.assert_allclose(found, reference(u, rows), atol=1e-5 * np.linalg.norm(u))
    # The Karush-Kuhn-Tucker conditions, with no reference: inside, and no nearer one.
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(u)
    assert (rows @ found >= -2e-6 * lengths).all()
    assert abs((found - u) @ found) <= 5e-6 * (u @ u)
    multipliers, rest = nnls(rows.T, found - u)
    assert rest <= 5e-6 * np.linalg.norm(u)
    assert (multipliers * (rows @ found) <= 1e-5 * (u @ u)).all()


@few
@given(
    st.integers(0, 2**31),
    st.integers(-15, 15),
    st.lists(st.integers(-15, 15), min_size=4, max_size=4),
)
def test_every_gradient_may_have_a_scale_of_its_own(seed, of_update, of_rows):
    u, rows = problem(seed, 4)
    scaled = cone(as_tree(10.0**of_update * u), as_tree(10.0 ** np.array(of_rows)[:, None] * rows))
    size = np.linalg.norm(u)
    np.testing.assert_allclose(
        as_rows(scaled) / 10.0**of_update, reference(u, rows), atol=2e-5 * size
    )


@few
@given(st.integers(0, 2**31), st.integers(-15, 15), st.integers(-15, 15))
def test_one_retain_gradient_is_the_conflict_rule(seed, e, f):
    u, rows = problem(seed, 1)
    u, rows = as_tree(10.0**e * u), as_tree(10.0**f * rows)
    only = jax.tree.map(lambda r: r[0], rows)
    np.testing.assert_allclose(
        as_rows(cone(u, rows)),
        as_rows(project(u, only, when="conflict")),
        atol=2e-6 * np.linalg.norm(as_rows(u)),
    )


def test_equal_dependent_opposite_and_zero_gradients_are_fine():
    u, rows = problem(0, 2)
    expected = reference(u, rows)
    same = np.stack([rows[0], rows[1], rows[0], rows[0] + rows[1], np.zeros(SIZE)])
    np.testing.assert_allclose(as_rows(cone(as_tree(u), as_tree(same))), expected, atol=1e-5)
    opposite = np.stack([rows[0], -rows[0]])
    np.testing.assert_allclose(
        as_rows(cone(as_tree(u), as_tree(opposite))), reference(u, opposite), atol=1e-5
    )


def test_nothing_is_touched_without_a_conflict_or_with_a_gradient_of_zero_or_infinity():
    u, rows = problem(0, 3)
    agreeing = rows * np.sign(rows @ u)[:, None]
    broken = agreeing.copy()
    broken[1, 4] = np.inf
    for retain, cosine_is_finite in ((agreeing, True), (0 * rows, True), (-broken, False)):
        projected, conflict = cone_and_conflict(as_tree(u), as_tree(retain))
        jax.tree.map(np.testing.assert_array_equal, projected, as_tree(u))
        assert not conflict.projected
        assert np.isfinite(conflict.cosine) == cosine_is_finite


def test_after_an_optimiser_the_steps_are_projected_as_the_gradients_before_it():
    u, rows = problem(0, 3)
    u, rows = as_tree(u), as_tree(rows)
    before = optax.chain(project_conflicting(when="conflict"), optax.sgd(0.5))
    after = optax.chain(optax.sgd(0.5), project_conflicting(when="conflict", incoming="steps"))
    steps = [
        as_rows(jax.jit(chain.update)(u, chain.init(u), retain_grads=rows)[0])
        for chain in (before, after)
    ]
    assert np.abs(steps[0] + 0.5 * as_rows(u)).max() > 0.01
    np.testing.assert_allclose(*steps, atol=1e-6)


def test_it_runs_under_jit_vmap_and_scan():
    us, rows = zip(*(problem(seed, 4) for seed in range(3)), strict=True)
    chain = optax.chain(project_conflicting(when="conflict"), optax.adam(0.1))
    stacked = as_tree(np.stack(us)), as_tree(np.stack(rows))

    @jax.jit
    def both(us, rows):
        first = jax.tree.map(lambda u: u[0], us)

        def step(state, pair):
            u, r = pair
            _, state = chain.update(u, state, first, retain_grads=r)
            return state, state[0].cosine

        _, cosines = jax.lax.scan(step, chain.init(first), (us, rows))
        return jax.vmap(project_cone)(us, rows), cosines

    found, cosines = both(*stacked)
    for i, (u, r) in enumerate(zip(us, rows, strict=True)):
        np.testing.assert_allclose(as_rows(found, (3,))[i], reference(u, r), atol=2e-5)
        mean = r.mean(0)
        expected = u @ mean / np.linalg.norm(u) / np.linalg.norm(mean)
        np.testing.assert_allclose(cosines[i], expected, atol=1e-5)


def test_trees_that_do_not_match_are_refused():
    u, rows = problem(0, 2)
    with pytest.raises(ValueError, match="a set of k retain gradients has shape"):
        project_cone(as_tree(u), as_tree(u))
    with pytest.raises(TypeError, match="retain_grads has a leaf"):
        project_cone(as_tree(u), jax.tree.map(lambda x: x.astype(int), as_tree(rows)))
