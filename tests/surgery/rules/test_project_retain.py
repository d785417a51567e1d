"""S: against its formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import random_tree, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery.rules import project_retain

exponents = st.integers(-15, 15)
TRANSFORM = project_retain()


@jax.jit
def update(u, r):
    return TRANSFORM.update(u, TRANSFORM.init(u), retain_grads=r)


def test_retained_loss_is_descended_along_what_the_update_does_not_reach():
    u, r = jnp.float32([-1, 1]), jnp.float32([2, 0])
    updates, state = update(u, r)
    np.testing.assert_allclose(updates, [1, 1], rtol=1e-6)
    np.testing.assert_allclose(update(-u, r)[0], [1, 1], rtol=1e-6)
    np.testing.assert_allclose(state.cosine, -np.sqrt(0.5), rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), exponents, exponents)
def test_update_is_its_formula_at_all_scales(seed, e, f):
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    a, b = vector(u), vector(r)
    expected = b - (b @ a) / (a @ a) * a
    found = vector(update(u, r)[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
