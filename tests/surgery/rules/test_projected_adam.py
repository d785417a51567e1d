"""Projected Adam: against Adam by hand in float64, and SciPy's cone."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import random_tree, rows, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from gsu_jax.surgery import measure_conflict
from gsu_jax.surgery.rules import projected_adam
from gsu_jax.surgery.rules._projected_adam import _project_in_metric

exponents = st.integers(-15, 15)
in_metric = jax.jit(_project_in_metric)


@pytest.fixture(autouse=True)
def promotion(strict_promotion):
    """Optax's own bias correction promotes its count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def without(u, r):
    return u - (u @ r) / (r @ r) * r


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), exponents, exponents, st.integers(-8, 8))
def test_nothing_is_left_along_r_and_no_vector_is_nearer_in_the_metric(seed, e, f, g):
    s, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    p = jax.tree.map(lambda x: jnp.float32(10.0**g) * jnp.exp(2 * x), random_tree(seed + 2))
    projected, conflict = in_metric(s, r, p)
    assert conflict.projected
    x, s, r, p = vector(projected), vector(s), vector(r), vector(p)
    expected = s - (r @ s) / (r @ (r / p)) * r / p
    np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    assert abs(x @ r) <= 1e-6 * np.linalg.norm(s) * np.linalg.norm(r)
    rng = np.random.default_rng(seed)
    for _ in range(10):  # other vectors that preserve the retained loss
        other = x + without(rng.standard_normal(len(s)) * np.linalg.norm(s), r)
        assert (x - s) @ (p * (x - s)) <= (other - s) @ (p * (other - s))


def adam_by_hand(grads, retain, rate, when, b1, b2, eps):
    """Adam's last step, projected in its metric, in float64."""
    m = v = 0.0
    for g in grads:
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    count = len(grads)
    p = np.sqrt(v / (1 - b2**count)) + eps
    s, w = m / (1 - b1**count) / p, retain / p
    return -rate * (
        s if when == "conflict" and s @ retain >= 0 else s - s @ retain / (retain @ w) * w
    )


@pytest.mark.parametrize(
    ("when", "options"),
    [("always", {}), ("conflict", {}), ("always", {"b1": 0.7, "b2": 0.95, "eps": 0.1})],
    ids=["always", "conflict", "settings"],
)
def test_applied_step_preserves_the_retained_loss(when, options):
    us, rs = [random_tree(i) for i in range(5)], [random_tree(10 + i) for i in range(5)]
    optimizer = optax.chain(projected_adam(0.1, when=when, **options), measure_conflict())
    state, update = optimizer.init(us[0]), jax.jit(optimizer.update)
    settings = {"b1": 0.9, "b2": 0.999, "eps": 1e-8} | options
    projected = []
    for count, (u, r) in enumerate(zip(us, rs, strict=True), 1):
        steps, state = update(u, state, retain_grads=r)
        grads = [vector(u) for u in us[:count]]
        expected = adam_by_hand(grads, vector(r), 0.1, when, **settings)
        np.testing.assert_allclose(vector(steps), expected, atol=2e-6)
        projected.append(bool(optax.tree.get(state, "projected")))
        assert (abs(state[-1].cosine) < 1e-6) == projected[-1]
        assert state[-1].cosine < 1e-6
    assert set(projected) == ({True} if when == "always" else {True, False})


def test_a_set_of_retain_gradients_is_harmed_in_none():
    u, rs = random_tree(0), random_tree(1, k=3)
    optimizer = projected_adam(0.1, when="conflict")
    step = vector(jax.jit(optimizer.update)(u, optimizer.init(u), retain_grads=rs)[0])
    # Adam's first step is the sign; in coordinates sqrt(P) x the cone is SciPy's.
    u, r = vector(u), rows(rs)
    root = np.sqrt(np.abs(u))
    weights, _ = nnls((r / root).T, -np.sign(u) * root)
    assert (weights > 0).any()
    expected = -0.1 * (np.sign(u) + (r / root**2).T @ weights)
    np.testing.assert_allclose(step, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert (r @ step <= 1e-5 * np.linalg.norm(r, axis=1)).all()


def test_conflict_is_that_of_the_incoming_gradients():
    u, r = jnp.float32([-1, 1]), jnp.float32([2, 0])
    optimizer = projected_adam(0.1)
    _, state = jax.jit(optimizer.update)(u, optimizer.init(u), retain_grads=r)
    np.testing.assert_allclose(optax.tree.get(state, "cosine"), -np.sqrt(0.5), rtol=1e-6)


def test_defaults_are_those_of_adam():
    ours, theirs = (inspect.signature(f).parameters for f in (projected_adam, optax.adam))
    for name in ("b1", "b2", "eps"):
        assert ours[name].default == theirs[name].default


def test_unknown_option_is_refused():
    with pytest.raises(ValueError, match=r"when.*got 'never'"):
        projected_adam(0.1, when="never")
