"""Influence against what it predicts: reweighted minima, found exactly in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import vector
from logistic_regression import LOSS, PENALTY, N, even, gradient, hessian, minimum, take, tree

from gsu_jax.curvature import influence_on_loss, influence_on_params

TIGHT = {"tol": 1e-12}


def bowl(curvatures):
    """Loss 1/2 (theta - z)^T C (theta - z): curvature C whatever the data."""
    return lambda theta, batch: (
        0.5 * jnp.mean(((theta[None] - batch) ** 2) @ jnp.asarray(curvatures))
    )


@pytest.mark.parametrize(("curvature", "damping"), [("hessian", 0.0), ("gauss_newton", 0.3)])
def test_influence_on_parameters_is_the_closed_form(curvature, damping, data, theta):
    z = take(data, slice(5, 6))
    options = {"curvature": curvature, "damping": damping, **TIGHT}
    found = influence_on_params(LOSS, tree(theta), data, z, **options)
    damped = hessian(theta, data, even(data)) + damping * np.eye(4)
    expected = -np.linalg.solve(damped, gradient(theta, z, even(z)))
    np.testing.assert_allclose(vector(found.value), expected, rtol=1e-9)
    assert found.residual < 1e-11


def test_influences_are_derivatives_of_the_reweighted_minimum_and_its_losses(data, theta):
    """The factor 1 + epsilon on the penalty that comes with the example is part of its loss."""
    z, targets, epsilon = take(data, slice(5, 6)), take(data, slice(10, 14)), 1e-4
    one = np.arange(N) == 5

    def reweighted(sign):
        # The mean with one example upweighted, over the total weight: the same minimum.
        return minimum(data, (even(data) + sign * epsilon * one) / (1 + sign * epsilon))

    def losses(theta):
        x = np.column_stack([np.ones(4), targets["x"]])
        return np.log1p(np.exp(-targets["y"] * (x @ theta))) + PENALTY / 2 * theta @ theta

    moved = (reweighted(1) - reweighted(-1)) / (2 * epsilon)
    on_params = influence_on_params(LOSS, tree(theta), data, z, **TIGHT).value
    np.testing.assert_allclose(vector(on_params), moved, rtol=1e-6)
    slope = (losses(reweighted(1)) - losses(reweighted(-1))) / (2 * epsilon)
    found = influence_on_loss(LOSS, tree(theta), data, z, targets, **TIGHT).value
    np.testing.assert_allclose(found, -slope, rtol=1e-6)


def test_with_equal_curvatures_influence_is_the_inner_product():
    """Theorem 2.2 of Bae et al. 2023."""
    data = np.random.default_rng(2).normal(size=(20, 3))
    theta, loss = jnp.asarray(data.mean(0)), bowl([2.0, 2.0, 2.0])
    forget, targets = data[:4], data[4:]
    inner = jax.vmap(lambda z: jax.grad(loss)(theta, z[None]) @ jax.grad(loss)(theta, forget))
    found = influence_on_loss(loss, theta, data, forget, targets).value
    np.testing.assert_allclose(found, inner(targets) / 2, rtol=1e-6)


def test_with_unequal_curvatures_orthogonal_gradients_have_influence():
    """The step from eq. 10 to eq. 7: what the theorem calls negligible is not."""
    loss, theta = bowl([10.0, 0.1]), jnp.zeros(2)
    # Gradients (-1, -1) and (-1, 1).
    forget, target = np.array([[0.1, 10.0]]), np.array([[0.1, -10.0]])
    data = np.concatenate([forget, -forget])
    inner = jax.grad(loss)(theta, forget) @ jax.grad(loss)(theta, target)
    np.testing.assert_allclose(inner, 0.0, atol=1e-12)
    found = partial(influence_on_loss, loss, theta, data, forget, target)
    np.testing.assert_allclose(found().value, [1 / 10 - 1 / 0.1], rtol=1e-6)
    # Damping far above the curvature turns H^-1 into a multiple of I, and the theorem holds.
    assert abs(1e4 * found(damping=1e4).value[0]) < 1e-2


def test_an_unsolved_system_shows_in_the_residual(data, theta):
    z = take(data, slice(0, 1))
    assert influence_on_params(LOSS, tree(theta), data, z, maxiter=1).residual > 1e-2


def test_jit_in_float32_gives_the_same(data, theta):
    z = take(data, slice(5, 6))
    expected = vector(influence_on_params(LOSS, tree(theta), data, z, **TIGHT).value)
    compiled = jax.jit(partial(influence_on_params, LOSS))
    found = compiled(*jax.tree.map(jnp.float32, (tree(theta), data, z)), damping=0.0).value
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    np.testing.assert_allclose(vector(found), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"damping": -1}, "damping .*got -1"), ({"curvature": "fisher"}, "curvature .*got 'fisher'")],
)
def test_wrong_options_are_refused(options, match, data, theta):
    with pytest.raises(ValueError, match=match):
        influence_on_params(LOSS, tree(theta), data, take(data, slice(1)), **options)


def test_wrong_inputs_are_refused(data, theta):
    params, z = tree(theta), take(data, slice(1))
    with pytest.raises(TypeError, match=r"params .*leaf w .*int"):
        influence_on_params(LOSS, params | {"w": jnp.arange(3)}, data, z)
    with pytest.raises(ValueError, match="examples"):
        influence_on_params(LOSS, params, data, take(data, slice(0)))
    with pytest.raises(ValueError, match="targets"):
        influence_on_loss(LOSS, params, data, z, {})
    with pytest.raises(ValueError, match="data"):
        influence_on_params(LOSS, params, 1.0, z)


def test_a_result_that_is_not_finite_is_refused(data, theta):
    with pytest.raises(ValueError, match="not finite"):
        influence_on_params(LOSS, tree(np.full(4, np.nan)), data, take(data, slice(1)))
    # A saddle on which conjugate gradients divide by zero.
    with pytest.raises(ValueError, match="not finite"):
        influence_on_params(bowl([1.0, -1.0]), jnp.zeros(2), np.ones((2, 2)), np.ones((1, 2)))
