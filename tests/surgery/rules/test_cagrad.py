"""CAGrad: against the bound of its dual in float64."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_tree, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery.rules import cagrad
from gsu_jax.surgery.rules._cagrad import _conflict_averse

averse = jax.jit(_conflict_averse)


def dual(u, r, c, w):
    """An upper bound of min(<u, d>, <r, d>) for every d within c |g| of the mean g."""
    g, m = (u + r) / 2, w * u + (1 - w) * r
    return m @ g + c * np.linalg.norm(g) * np.linalg.norm(m)


def test_the_worse_of_two_inner_products_is_as_large_as_possible():
    # The mean of (-1, 1) and (1, 0) is (0, 0.5): products 0.5 and 0. Within 0.25 of it the second
    # is largest at (0.25, 0.5), and no smaller than the first, 0.25.
    found = averse(jnp.float32([-1, 1]), jnp.float32([1, 0]), 0.5)
    np.testing.assert_allclose(found, [0.25, 0.5], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([-1, 0, 1, 3]))
def test_result_reaches_the_bound_of_the_dual(seed, c, gap):
    """No d can do better than the least bound over w, so a d that reaches it is the best."""
    u, r = random_tree(seed, 10.0**gap), random_tree(seed + 1)
    a, b = vector(u), vector(r)
    d, mean = vector(averse(u, r, c)), (a + b) / 2
    assert np.linalg.norm(d - mean) <= c * np.linalg.norm(mean) * (1 + 1e-5)
    bound = min(dual(a, b, c, w) for w in np.linspace(0, 1, 2001))
    scale = np.linalg.norm(mean) * min(np.linalg.norm(a), np.linalg.norm(b))
    assert min(a @ d, b @ d) >= bound - 2e-5 * scale


@pytest.mark.parametrize("e", [-15, 15])
def test_gradients_thirty_orders_apart_give_the_mean_and_a_step_along_the_smaller(e):
    u, r = random_tree(0, 10.0**e), random_tree(1, 10.0**-e)
    a, b = vector(u), vector(r)
    mean, small = (a + b) / 2, min(a, b, key=np.linalg.norm)
    expected = mean + 0.5 * np.linalg.norm(mean) * small / np.linalg.norm(small)
    found = vector(averse(u, r, 0.5))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("u", "r", "expected"),
    [
        ([1, 1], [1, 1], [1.5, 1.5]),
        ([1, 0], [-1, 0], [0, 0]),
        ([3, 0], [-1, 0], [0.5, 0]),
        ([-1, 0], [3, 0], [0.5, 0]),
        ([4, 0], [2, 0], [4.5, 0]),
        ([1, 0.1], [1, -0.1], [1.5, 0]),
        # The unconstrained weight is 1.25, or -0.25 if swapped.
        ([2, 2], [3, -3], [3.401388, 0.401388]),
        ([3, -3], [2, 2], [3.401388, 0.401388]),
        ([2, 0], [4, 0], [4.5, 0]),
        ([0, 0], [0, 0], [0, 0]),
        ([2, 0], [0, 0], [1, 0]),
        ([0, 0], [0, 2], [0, 1]),
    ],
    ids=str,
)
def test_degenerate_duals(u, r, expected):
    np.testing.assert_allclose(averse(jnp.float32(u), jnp.float32(r), 0.5), expected, atol=1e-6)


def test_finite_entries_are_the_mean_if_another_is_not_finite():
    found = averse(jnp.float32([np.nan, 1]), jnp.float32([1, 1]), 0.5)
    np.testing.assert_array_equal(found, [np.nan, 1])


def test_derivatives_at_equal_gradients_are_finite():
    u = jnp.float32([1, 2])
    derivative = jax.jacobian(lambda u, r: averse(u, r, 0.5), (0, 1))(u, u)
    assert all(np.isfinite(d).all() for d in derivative)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_result_scales_with_both_gradients(scale):
    found = averse(random_tree(0, scale), random_tree(1, scale), 0.5)
    expected = vector(averse(random_tree(0), random_tree(1), 0.5))
    np.testing.assert_allclose(vector(found) / scale, expected, rtol=1e-5, atol=1e-5)


def test_at_zero_it_is_the_mean():
    u, r = random_tree(0), random_tree(1)
    np.testing.assert_allclose(vector(averse(u, r, 0.0)), (vector(u) + vector(r)) / 2, rtol=1e-5)


def test_transform_is_the_rule_and_shows_the_conflict():
    u, r = jnp.float32([-1, 1]), jnp.float32([1, 0])
    transform = cagrad(0.25)
    updates, state = jax.jit(transform.update)(u, transform.init(u), retain_grads=r)
    np.testing.assert_array_equal(updates, averse(u, r, 0.25))
    np.testing.assert_allclose(state.cosine, -np.sqrt(0.5), rtol=1e-6)
    assert state.projected


def test_default_reach_is_a_half():
    assert inspect.signature(cagrad).parameters["c"].default == 0.5


def test_empty_trees_are_trees():
    assert _conflict_averse({}, {}, 0.5) == {}


@pytest.mark.parametrize("c", [1.0, -0.1])
def test_reach_out_of_range_is_refused(c):
    with pytest.raises(ValueError, match=rf"c .*got {c}"):
        cagrad(c)
