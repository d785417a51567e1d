"""Products with the curvature: against the Jacobian formula and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gsu_jax.curvature import (
    ComposedLoss,
    curvature_product,
    gauss_newton_product,
    hessian_product,
)
from gsu_jax.curvature._products import solve


@pytest.fixture(scope="module")
def network():
    """A network with a hidden layer, whose Gauss-Newton matrix is not its Hessian."""

    def outputs(params, batch):
        return jnp.tanh(batch["x"] @ params["in"]) @ params["out"]

    def squares(predicted, batch):
        return jnp.mean((predicted - batch["y"]) ** 2)

    draw = np.random.default_rng(1)
    params = {"in": draw.normal(size=(3, 4)), "out": draw.normal(size=4)}
    return ComposedLoss(outputs, squares), params


def matrix(product, params):
    flat, unravel = ravel_pytree(params)
    column = jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])
    return np.asarray(jax.jit(column)(jnp.eye(len(flat))))


def test_gauss_newton_is_the_jacobian_formula_and_never_negative(network, data):
    loss, params = network
    flat, unravel = ravel_pytree(params)
    jacobian = np.asarray(jax.jit(jax.jacobian(lambda v: loss.outputs(unravel(v), data)))(flat))
    found = matrix(gauss_newton_product(loss, params, data), params)
    np.testing.assert_allclose(found, jacobian.T @ jacobian * 2 / len(data["y"]), atol=1e-12)
    assert np.linalg.eigvalsh(found)[0] > -1e-12


def test_hessian_is_the_difference_quotient_of_the_gradient(network, data):
    loss, params = network
    flat, unravel = ravel_pytree(params)
    gradient_of = jax.jit(jax.grad(lambda v: loss(unravel(v), data)))
    steps = 1e-5 * np.eye(len(flat))
    slopes = [(gradient_of(flat + step) - gradient_of(flat - step)) / 2e-5 for step in steps]
    found = matrix(hessian_product(loss, params, data), params)
    np.testing.assert_allclose(found, slopes, atol=1e-7)
    assert np.linalg.eigvalsh(found)[0] < -0.1


def test_curvature_is_chosen_by_name(network, data):
    loss, params = network
    for name, product_of in (("hessian", hessian_product), ("gauss_newton", gauss_newton_product)):
        found = curvature_product(name, loss, params, data)(params)
        expected = product_of(loss, params, data)(params)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_gauss_newton_needs_a_composed_loss():
    with pytest.raises(TypeError, match=r"ComposedLoss.*got function"):
        gauss_newton_product(lambda params, batch: params, jnp.ones(1), jnp.ones(1))


def test_a_damped_system_is_solved_and_its_residual_is_that_of_the_solution():
    diagonal, b = jnp.asarray([1.0, 2.0, 5.0]), jnp.asarray([1.0, -1.0, 3.0])
    found = solve(lambda v: diagonal * v, b, damping=0.5, tol=1e-12, maxiter=100)
    np.testing.assert_allclose(found.value, b / (diagonal + 0.5), rtol=1e-10)
    assert found.residual < 1e-11
    rough = solve(lambda v: diagonal * v, b, damping=0.5, tol=1e-12, maxiter=1)
    left = (diagonal + 0.5) * rough.value - b
    np.testing.assert_allclose(rough.residual, np.linalg.norm(left) / np.linalg.norm(b), rtol=1e-10)
    assert rough.residual > 1e-2


def test_a_zero_right_hand_side_has_no_residual():
    found = solve(lambda v: v, jnp.zeros(2), damping=0.0, tol=1e-5, maxiter=10)
    np.testing.assert_array_equal(found.value, 0.0)
    assert found.residual == 0
