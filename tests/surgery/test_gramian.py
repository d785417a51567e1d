"""Products of rows held leaf by leaf, in chunks of columns or not: against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery import _gramian as rows
from gsu_jax.surgery._gramian import along, combine, inner
from gsu_jax.surgery._projection import project_subspace_and_measure
from gsu_jax.surgery._span import normal_equations

SHAPES = [(7, 9), (64,), (), (3, 5, 11)]


def leaves(k, seed):
    rng = np.random.default_rng(seed)
    return [jnp.float32(rng.standard_normal((k, *shape))) for shape in SHAPES]


def flat(leaves):
    return np.concatenate([np.asarray(x, np.float64).reshape(len(x), -1) for x in leaves], axis=1)


@pytest.mark.parametrize("chunk", [None, 1, 8, 31, 40])
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_products_are_those_of_the_long_rows_however_they_are_cut(chunk, seed):
    a, b, vector = leaves(3, seed), leaves(2, seed + 1), [x[0] for x in leaves(1, seed + 2)]
    with pytest.MonkeyPatch.context() as patched:
        if chunk is not None:
            patched.setattr(rows, "LARGE", 1)
            patched.setattr(rows, "CHUNK", chunk)
        np.testing.assert_allclose(inner(a, b), flat(a) @ flat(b).T, rtol=0, atol=2e-4)
        expected = flat(a) @ flat([v[None] for v in vector])[0]
        np.testing.assert_allclose(along(a, vector), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("k", [1, rows.FEW, rows.FEW + 1])
def test_combined_rows_are_weighted_sums(k):
    a = leaves(k, 0)
    weights = jnp.float32(np.random.default_rng(1).standard_normal(k))
    found = flat([x[None] for x in combine(weights, a)])[0]
    np.testing.assert_allclose(found, np.asarray(weights) @ flat(a), rtol=0, atol=1e-5)


def test_a_large_leaf_is_multiplied_in_chunks_and_a_small_one_at_once():
    large = jax.ShapeDtypeStruct((4, rows.LARGE), jnp.float32)
    small = jax.ShapeDtypeStruct((4, 1000), jnp.float32)
    loops = [
        str(jax.make_jaxpr(lambda x: inner([x], [x]))(x)).count("scan[") for x in (large, small)
    ]
    assert loops == [jax.default_backend() == "cpu", 0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(-15, 15), st.integers(-15, 15), st.integers(-3, 0))
def test_both_ways_to_take_a_span_out_agree(seed, e, f, closeness):
    """Rows on both sides of `INDEPENDENT`: the normal equations and the basis."""
    u, base = [10.0**e * x[0] for x in leaves(1, seed)], leaves(1, seed + 1)
    r = [
        10.0**f * (b + 10.0**closeness * x) for b, x in zip(base, leaves(3, seed + 2), strict=True)
    ]
    found, conflict = project_subspace_and_measure(u, r)
    q, _ = np.linalg.qr(flat(r).T)
    a = flat([x[None] for x in u])[0]
    size = np.linalg.norm(a)
    np.testing.assert_allclose(
        flat([x[None] for x in found])[0],
        a - q @ (q.T @ a),
        rtol=0,
        atol=size * 3e-6 / 10.0**closeness,
    )
    assert np.abs(flat(r) @ flat([x[None] for x in found])[0]).max() <= (
        2e-6 * size * np.linalg.norm(flat(r), axis=1).max()
    )
    mean = flat(r).mean(0)
    np.testing.assert_allclose(conflict.update_norm, size, rtol=1e-5)
    np.testing.assert_allclose(conflict.retain_norm, np.linalg.norm(mean), rtol=1e-5)
    cosine = mean @ a / size / np.linalg.norm(mean)
    np.testing.assert_allclose(conflict.cosine, cosine, atol=1e-5)


@pytest.mark.parametrize(("closeness", "usable"), [(1.0, True), (1e-2, False), (0.0, False)])
def test_the_normal_equations_know_where_they_cannot_be_used(closeness, usable):
    (a,), (b,) = leaves(1, 0)[1], leaves(1, 1)[1]
    r = jnp.stack([a, a + closeness * b])
    assert bool(normal_equations([r], [b]).usable) == usable
    assert not normal_equations([r.at[0, 0].set(jnp.nan)], [b]).usable
    assert not normal_equations([1e-30 * r], [b]).usable
    assert not normal_equations([r], [0 * b]).usable
