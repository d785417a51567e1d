"""The measured conflict: against float64 NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import cosine, random_tree, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery import measure
from gsu_jax.surgery._conflict import _normalize, conflict_state, initial_conflict, mean_gradient
from gsu_jax.surgery._projection import project_and_measure

few = settings(max_examples=15, deadline=None)
exponents = st.integers(-15, 15)
measured = jax.jit(measure)
stacked = jax.jit(project_and_measure)
leafwise = jax.jit(partial(project_and_measure, scope="leaf"))


def assert_measures(conflict, u, r):
    np.testing.assert_allclose(conflict.update_norm, np.linalg.norm(vector(u)), rtol=1e-5)
    np.testing.assert_allclose(conflict.retain_norm, np.linalg.norm(vector(r)), rtol=1e-5)
    np.testing.assert_allclose(conflict.cosine, cosine(u, r), atol=1e-5)


@few
@given(st.integers(0, 2**31), exponents, exponents)
def test_conflict_is_that_of_the_whole_vectors_at_all_scales(seed, e, f):
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    assert_measures(measured(u, r), u, r)
    assert_measures(leafwise(u, r)[1], u, r)
    assert not measured(u, r).projected
    assert leafwise(u, r)[1].projected


def test_conflict_of_leaves_of_very_different_scales():
    u = {"a": jnp.float32([1e-12, 2e-12]), "b": jnp.float32([3e12, -1e12])}
    r = {"a": jnp.float32([1e12, 0]), "b": jnp.float32([1e12, 1e12])}
    assert_measures(leafwise(u, r)[1], u, r)


def test_a_set_is_measured_by_its_mean():
    u, rs = random_tree(0), random_tree(1, k=3)
    mean = jax.tree.map(lambda r: r.mean(0), rs)
    assert_measures(measured(u, rs), u, mean)
    np.testing.assert_allclose(vector(mean_gradient(rs)), vector(mean), rtol=1e-5, atol=1e-6)


def test_mean_of_a_low_precision_set_is_in_float32():
    rs = jnp.ones((4, 2), jnp.bfloat16)
    assert mean_gradient({"a": rs})["a"].dtype == jnp.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cosine_of_a_non_finite_gradient_is_nan(bad):
    good, wrong = jnp.float32([1, 2]), jnp.float32([1, bad])
    assert np.isnan(measured(good, wrong).cosine)
    assert np.isnan(measured(wrong, good).cosine)


def test_cosine_of_a_zero_gradient_is_zero():
    u = jnp.float32([3, 4])
    conflict = measured(u, 0 * u)
    assert (conflict.cosine, conflict.update_norm, conflict.retain_norm) == (0, 5, 0)


def test_cosine_is_never_beyond_one():
    for seed in range(20):
        u = jnp.float32(np.random.default_rng(seed).random(64))
        for sign in (1, -1):
            one, of_set = measured(u, sign * u), stacked(u, sign * u[None])[1]
            assert abs(one.cosine) <= 1
            assert abs(of_set.cosine) <= 1
            np.testing.assert_allclose([one.cosine, of_set.cosine], sign, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_shares_and_norm_of_numbers_at_all_scales(scale):
    shares, norm = _normalize(jnp.float32([3 * scale, 4 * scale]))
    np.testing.assert_allclose(shares, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(norm, 5 * scale, rtol=1e-6)


def test_shares_and_norm_of_zeros_and_infinity():
    shares, norm = _normalize(jnp.zeros(2))
    np.testing.assert_array_equal([*shares, norm], 0)
    assert _normalize(jnp.float32([1, np.inf]))[1] == np.inf


def test_state_is_float32_for_updates_of_any_dtype():
    with jax.enable_x64(True):
        u = jnp.ones(2, jnp.float64)
        conflict = measure(u, u)
        assert conflict.cosine.dtype == jnp.float64
        kinds = [leaf.dtype for leaf in conflict_state(conflict)]
    assert kinds == [leaf.dtype for leaf in initial_conflict()]
    assert kinds == [jnp.float32] * 3 + [jnp.bool_]


def test_before_the_first_step_there_is_no_conflict():
    np.testing.assert_array_equal(initial_conflict(), [0, 0, 0, False])
