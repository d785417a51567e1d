"""Nash: against the condition of the bargain, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_tree, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery.rules import nash

exponents = st.integers(-15, 15)
TRANSFORM = nash()


@jax.jit
def update(u, r):
    return TRANSFORM.update(u, TRANSFORM.init(u), retain_grads=r)


def test_result_is_the_bisector_over_the_root_of_one_plus_the_cosine():
    u, r = np.float32([-3, 4]), np.float32([2, 0])  # a cosine of -0.6
    found, state = update(u, r)
    np.testing.assert_allclose(found, np.array([-0.6 + 1, 0.8]) / np.sqrt(0.4), rtol=1e-6)
    np.testing.assert_allclose(state.cosine, -0.6, rtol=1e-6)
    assert state.projected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), exponents, exponents)
def test_each_weight_is_one_over_the_gain_of_its_player(seed, e, f):
    """The condition G^T G a = 1 / a, for gradients of any two lengths."""
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    a, b, d = vector(u), vector(r), vector(update(u, r)[0])
    weights, *_ = np.linalg.lstsq(
        np.stack([a / np.linalg.norm(a), b / np.linalg.norm(b)], 1), d, rcond=None
    )
    weights /= [np.linalg.norm(a), np.linalg.norm(b)]
    gains = np.array([a @ d, b @ d])
    np.testing.assert_allclose(weights * gains, 1, rtol=1e-4)
    np.testing.assert_allclose(d, weights[0] * a + weights[1] * b, atol=1e-5)


def test_no_step_of_that_length_has_a_larger_product_of_gains():
    u, r = vector(random_tree(3, 5.0)), vector(random_tree(4, 0.2))
    d = vector(update(jnp.float32(u), jnp.float32(r))[0])
    rng = np.random.default_rng(0)
    others = d + 0.3 * rng.standard_normal((2000, len(d)))
    others *= np.linalg.norm(d) / np.linalg.norm(others, axis=1, keepdims=True)
    gains = (others @ u > 0) * (others @ u) * (others @ r)
    assert gains.max() <= (u @ d) * (r @ d)


@pytest.mark.parametrize("e", [-15, 15])
def test_length_of_a_gradient_does_not_matter(e):
    expected = vector(update(random_tree(0), random_tree(1))[0])
    found = vector(update(random_tree(0, 10.0**e), random_tree(1, 10.0**-e))[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1.0, 3.0, 3.14])
def test_length_is_the_root_of_two_up_to_nearly_opposite_gradients(angle):
    u, r = jnp.float32([1, 0]), jnp.float32([np.cos(angle), np.sin(angle)])
    found = update(u, r)[0]
    np.testing.assert_allclose(np.linalg.norm(found), np.sqrt(2), rtol=1e-6)
    half = np.array([np.cos(angle / 2), np.sin(angle / 2)])
    np.testing.assert_allclose(found, np.sqrt(2) * half, atol=2e-4)


def test_opposite_gradients_end_the_bargain_with_no_step():
    u = random_tree(0)
    opposite = jax.tree.map(lambda x: -3 * x, u)
    np.testing.assert_array_equal(vector(update(u, opposite)[0]), 0)


def test_zero_gradient_leaves_the_step_to_the_other():
    u, zero = jnp.float32([3, 4]), jnp.zeros(2)
    expected = np.sqrt(2) * np.array([0.6, 0.8])
    np.testing.assert_allclose(update(u, zero)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(update(zero, u)[0], expected, rtol=1e-6)


def test_empty_trees_are_trees():
    assert TRANSFORM.update({}, TRANSFORM.init({}), retain_grads={})[0] == {}
