"""Barrier: against its formula and the constraint that it keeps, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_tree, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from gsu_jax.surgery.rules import barrier

exponents = st.integers(-6, 6)
seeds = st.integers(0, 2**31)


@partial(jax.jit, static_argnames=("eta", "form"))
def update(u, r, eta=0.1, form="cosine"):
    transform = barrier(eta, form=form)
    return transform.update(u, transform.init(u), retain_grads=r)


@settings(max_examples=15, deadline=None)
@given(seeds, exponents, exponents)
def test_by_default_the_weight_is_the_margin_less_the_cosine(seed, e, f):
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    a, b = vector(u), vector(r)
    weight = max(0.0, 0.1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    expected = b + weight * a
    np.testing.assert_allclose(vector(update(u, r)[0]), expected, atol=1e-5 * abs(expected).max())


@settings(max_examples=15, deadline=None)
@given(seeds, exponents, exponents)
def test_bome_lowers_the_forget_loss_by_the_margin_and_moves_no_more_than_that(seed, e, f):
    """D is the nearest to r with <u, d> >= eta <u, u>: r itself, or on the border along u."""
    u, r = random_tree(seed, 10.0**e), random_tree(seed + 1, 10.0**f)
    a, b, d = vector(u), vector(r), vector(update(u, r, form="bome")[0])
    short = max(0.0, 0.1 * (a @ a) - a @ b)
    tolerance = 1e-5 * (a @ a + np.linalg.norm(a) * np.linalg.norm(b))
    np.testing.assert_allclose(a @ (d - b), short, atol=tolerance)
    off = (d - b) - (a @ (d - b)) / (a @ a) * a
    assert np.linalg.norm(off) <= 1e-5 * (np.linalg.norm(d) + np.linalg.norm(b))


def test_both_forms_are_one_for_gradients_of_one_length():
    u, r = jnp.float32([3, 4]), jnp.float32([-5, 0])
    np.testing.assert_allclose(update(u, r)[0], update(u, r, form="bome")[0], rtol=1e-6)


def test_gradients_that_agree_enough_leave_the_retain_gradient_alone():
    u, r = jnp.float32([1, 1]), jnp.float32([3, 0])
    found, state = update(u, r, eta=0.7)
    np.testing.assert_array_equal(found, r)
    assert not state.projected
    assert (update(u, r, eta=0.71)[0] != r).all()


@pytest.mark.parametrize("form", ["cosine", "bome"])
def test_zero_gradients_leave_the_other(form):
    u, zero = jnp.float32([3, -4]), jnp.zeros(2)
    np.testing.assert_allclose(update(u, zero, form=form)[0], 0.1 * u, rtol=1e-6)
    np.testing.assert_array_equal(update(zero, u, form=form)[0], u)


@pytest.mark.parametrize("form", ["cosine", "bome"])
@pytest.mark.parametrize(("e", "f"), [(62, 66), (66, 62), (-70, -66)])
def test_formula_holds_where_the_squares_leave_float32(form, e, f):
    u, r = np.float32([3, 4]) * np.float32(2.0**e), np.float32([-5, 0]) * np.float32(2.0**f)
    a, b = np.float64(u), np.float64(r)
    size = np.linalg.norm(a) * np.linalg.norm(b) if form == "cosine" else a @ a
    expected = b + (0.1 - a @ b / size) * a
    found = update(u, r, form=form)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("settings", [{"eta": -0.1}, {"form": "cos"}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} .*got"):
        barrier(**settings)


def test_empty_trees_are_trees():
    transform = barrier()
    assert transform.update({}, transform.init({}), retain_grads={})[0] == {}
