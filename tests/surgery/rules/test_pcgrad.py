"""PCGrad: against its formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import random_tree, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery.rules import pcgrad

exponents = st.integers(-15, 15)
TRANSFORM = pcgrad()


@jax.jit
def update(u, r):
    return TRANSFORM.update(u, TRANSFORM.init(u), retain_grads=r)


def without(u, r):
    return u if u @ r >= 0 else u - (u @ r) / (r @ r) * r


def test_each_gradient_is_projected_off_the_other_if_they_conflict():
    against, away, retain = jnp.float32([-1, 1]), jnp.float32([1, 1]), jnp.float32([2, 0])
    updates, state = update(against, retain)
    np.testing.assert_allclose(updates, [0 + 1, 1 + 1], rtol=1e-6)
    np.testing.assert_allclose(state.cosine, -np.sqrt(0.5), rtol=1e-6)
    assert state.projected
    updates, state = update(away, retain)
    np.testing.assert_allclose(updates, away + retain)
    assert not state.projected


def test_orthogonal_gradients_do_not_conflict():
    assert not update(jnp.float32([0, 1]), jnp.float32([2, 0]))[1].projected


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), exponents, exponents)
def test_update_is_its_formula_at_all_scales(seed, e, f):
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    a, b = vector(u), vector(r)
    expected = without(a, b) + without(b, a)
    found = vector(update(u, r)[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
