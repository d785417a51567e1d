"""The measured conflict of finite gradients whose norm is beyond the range of float32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.surgery import measure
from gsu_jax.surgery._conflict import _shares
from gsu_jax.surgery._projection import project_and_measure

HUGE = 3e38


@pytest.mark.parametrize(
    ("u", "r", "cosine"),
    [
        ([HUGE, HUGE], [1, 0], 0.5**0.5),
        ([HUGE, HUGE], [-1, 0], -(0.5**0.5)),
        ([HUGE, -HUGE], [1, 1], 0),
        ([HUGE, HUGE], [HUGE, HUGE], 1),
        ([HUGE, HUGE], [-HUGE, -HUGE], -1),
        ([1, 0], [HUGE, HUGE], 0.5**0.5),
        ([HUGE, HUGE], [1e-30, 0], 0.5**0.5),
    ],
)
def test_cosine_is_right_where_a_norm_overflows(u, r, cosine):
    conflict = measure(jnp.float32(u), jnp.float32(r))
    np.testing.assert_allclose(conflict.cosine, cosine, rtol=1e-6, atol=1e-7)
    for norm, vector in ((conflict.update_norm, u), (conflict.retain_norm, r)):
        expected = np.linalg.norm(np.float64(vector))
        in_range = expected <= np.finfo(np.float32).max
        np.testing.assert_allclose(norm, expected if in_range else np.inf, rtol=1e-6)


def test_leaves_far_apart_in_scale_are_weighed_by_their_norms():
    leafwise = jax.jit(partial(project_and_measure, scope="leaf"))
    u = {"a": jnp.float32([HUGE, HUGE]), "b": jnp.float32([1e-30]), "c": jnp.zeros(2)}
    r = {"a": jnp.float32([1, 0]), "b": jnp.float32([1]), "c": jnp.ones(2)}
    _, conflict = leafwise(u, r)
    np.testing.assert_allclose(conflict.cosine, 0.5**0.5 * 0.5, rtol=1e-6)
    assert conflict.update_norm == np.inf
    np.testing.assert_allclose(conflict.retain_norm, 2, rtol=1e-6)


def test_shares_take_powers_of_two_out_and_put_them_back():
    shares, norm = _shares(jnp.float32([3, 2]), jnp.float32([2, 1]))
    np.testing.assert_allclose(shares, [0.6, 0.8], rtol=1e-6)
    assert norm == 2.5
    shares, norm = _shares(jnp.zeros(0), jnp.zeros(0))
    assert (shares.shape, norm) == ((0,), 0)
