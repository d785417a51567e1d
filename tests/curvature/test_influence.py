"""Influence against what it predicts: reweighted and leave-out minima, found exactly in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from gsu_jax.curvature import (
    ComposedLoss,
    gauss_newton_product,
    group_removal,
    hessian_product,
    influence_on_loss,
    influence_on_params,
    loss_change,
)
from gsu_jax.surgery import project

PENALTY = 0.05
TIGHT = {"tol": 1e-12}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def logits(params, batch):
    return batch["x"] @ params["w"] + params["b"], params


def logistic_of(outputs, batch):
    z, params = outputs
    penalty = 0.5 * PENALTY * (jnp.sum(params["w"] ** 2) + params["b"] ** 2)
    return jnp.mean(jax.nn.softplus(-batch["y"] * z)) + penalty


LOGISTIC = ComposedLoss(logits, logistic_of)


def labelled(n=60, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3)) * [1.0, 2.0, 0.5]
    y = np.where(x @ [1.0, -1.0, 0.5] + draw.normal(size=n) > 0, 1.0, -1.0)
    return {"x": x, "y": y}


def rows(batch, index):
    return jax.tree.map(lambda leaf: leaf[index], batch)


def tree(vector):
    return {"b": jnp.asarray(vector[0]), "w": jnp.asarray(vector[1:])}


def vector(params):
    return np.concatenate([np.ravel(params["b"]), np.ravel(params["w"])])


# The same model in NumPy, with a weight for each example (they sum to 1).


def gradient(theta, batch, weights):
    x = np.column_stack([np.ones(len(batch["y"])), batch["x"]])
    slope = -batch["y"] / (1 + np.exp(batch["y"] * (x @ theta)))
    return x.T @ (weights * slope) + PENALTY * theta


def hessian(theta, batch, weights):
    x = np.column_stack([np.ones(len(batch["y"])), batch["x"]])
    s = 1 / (1 + np.exp(-(x @ theta)))
    return x.T @ ((weights * s * (1 - s))[:, None] * x) + PENALTY * np.eye(4)


def minimum(batch, weights):
    theta = np.zeros(4)
    for _ in range(30):
        theta -= np.linalg.solve(hessian(theta, batch, weights), gradient(theta, batch, weights))
    assert np.abs(gradient(theta, batch, weights)).max() < 1e-13
    return theta


def even(batch):
    return np.full(len(batch["y"]), 1 / len(batch["y"]))


DATA = labelled()
THETA = minimum(DATA, even(DATA))
GROUP = np.argsort(-DATA["x"][:, 1])[:2]  # at one end of a feature
WITHOUT = np.setdiff1d(np.arange(60), GROUP)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_influence_on_parameters_is_the_closed_form(curvature, damping):
    z = rows(DATA, slice(5, 6))
    found = influence_on_params(
        LOGISTIC, tree(THETA), DATA, z, damping=damping, curvature=curvature, **TIGHT
    )
    damped = hessian(THETA, DATA, even(DATA)) + damping * np.eye(4)
    expected = -np.linalg.solve(damped, gradient(THETA, z, even(z)))
    np.testing.assert_allclose(vector(found.value), expected, rtol=1e-9)
    assert found.residual < 1e-11


def test_influences_are_the_derivatives_of_the_reweighted_minimum_and_of_its_losses():
    """The factor 1 + epsilon on the penalty that comes with the example is part of its loss."""
    z, targets, epsilon = rows(DATA, slice(5, 6)), rows(DATA, slice(10, 14)), 1e-4
    one = np.arange(60) == 5

    def reweighted(sign):
        # The mean with one example upweighted, over the total weight: the same minimum.
        return minimum(DATA, (even(DATA) + sign * epsilon * one) / (1 + sign * epsilon))

    moved = (reweighted(1) - reweighted(-1)) / (2 * epsilon)
    on_params = influence_on_params(LOGISTIC, tree(THETA), DATA, z, **TIGHT).value
    np.testing.assert_allclose(vector(on_params), moved, rtol=1e-6)

    def losses(theta):
        x = np.column_stack([np.ones(4), targets["x"]])
        return np.log1p(np.exp(-targets["y"] * (x @ theta))) + PENALTY / 2 * theta @ theta

    slope = (losses(reweighted(1)) - losses(reweighted(-1))) / (2 * epsilon)
    found = influence_on_loss(LOGISTIC, tree(THETA), DATA, z, targets, **TIGHT).value
    np.testing.assert_allclose(found, -slope, rtol=1e-6)


def test_terms_of_a_removal_are_the_taylor_coefficients_of_the_path_to_it():
    p = len(GROUP) / 60
    away = p / (1 - p) * (even(DATA) - np.isin(np.arange(60), GROUP) / len(GROUP))
    step = 1e-3
    ahead, behind = (minimum(DATA, even(DATA) + sign * step * away) for sign in (1, -1))
    found = group_removal(
        LOGISTIC, tree(THETA), DATA, rows(DATA, GROUP), order=2, third_derivative=True, **TIGHT
    )
    np.testing.assert_allclose(vector(found.first), (ahead - behind) / (2 * step), rtol=1e-5)
    second = (ahead + behind - 2 * THETA) / (2 * step**2)
    np.testing.assert_allclose(vector(found.second), second, rtol=1e-4)


def test_each_order_comes_nearer_to_leave_out_retraining():
    retrained = minimum(rows(DATA, WITHOUT), even(rows(DATA, WITHOUT))) - THETA
    remove = partial(group_removal, LOGISTIC, tree(THETA), DATA, rows(DATA, GROUP), **TIGHT)
    one_newton_step = influence_on_params(
        LOGISTIC, tree(THETA), rows(DATA, WITHOUT), rows(DATA, WITHOUT), **TIGHT
    ).value
    first, second, third, newton = (
        np.linalg.norm(vector(change) - retrained) / np.linalg.norm(retrained)
        for change in (
            remove(order=2).first,
            remove(order=2).change,
            remove(order=2, third_derivative=True).change,
            one_newton_step,
        )
    )
    assert third < second / 5
    assert second < first / 2
    assert newton < first / 2


def test_second_order_term_is_equation_8_with_the_sign_of_a_removal():
    """Eq. 8's A H^-1 sum_U grad l is the coefficient of epsilon^2 in an up-weighting."""
    n, m = 60, len(GROUP)
    group, weights = rows(DATA, GROUP), np.full(m, 1 / m)
    h, h_group = hessian(THETA, DATA, even(DATA)), hessian(THETA, group, weights)
    a = (m / n) / (1 - m / n) * (np.eye(4) - np.linalg.solve(h, h_group))
    equation_8 = a @ np.linalg.solve(h, m * gradient(THETA, group, weights))
    found = group_removal(LOGISTIC, tree(THETA), DATA, group, order=2, **TIGHT).second
    np.testing.assert_allclose(-(n - m) * vector(found), equation_8, rtol=1e-8)


def test_removal_of_a_group_like_the_whole_changes_nothing():
    """Also away from the minimum, where the gradient of all the data is not zero."""
    group = rows(DATA, GROUP)
    data = rows(DATA, np.resize(GROUP, 60))
    found = group_removal(LOGISTIC, tree(THETA + 1.0), data, group, order=2, **TIGHT)
    np.testing.assert_allclose(vector(found.change), 0.0, atol=1e-12)


def test_gauss_newton_is_the_jacobian_formula_and_never_negative():
    """On a network with a hidden layer, where it is not the Hessian."""

    def outputs(params, batch):
        return jnp.tanh(batch["x"] @ params["in"]) @ params["out"]

    def squares(predicted, batch):
        return jnp.mean((predicted - batch["y"]) ** 2)

    draw = np.random.default_rng(1)
    params = {"in": jnp.asarray(draw.normal(size=(3, 4))), "out": jnp.asarray(draw.normal(size=4))}
    flat, unravel = ravel_pytree(params)
    jacobian = np.asarray(jax.jit(jax.jacobian(lambda v: outputs(unravel(v), DATA)))(flat))
    loss = ComposedLoss(outputs, squares)

    def matrix(product_of):
        @jax.jit
        def columns(params):
            product = product_of(loss, params, DATA)
            column = jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])
            return column(jnp.eye(16))

        return np.asarray(columns(params))

    gauss_newton = matrix(gauss_newton_product)
    np.testing.assert_allclose(gauss_newton, jacobian.T @ jacobian * 2 / 60, atol=1e-12)
    full = matrix(hessian_product)
    gradient_of = jax.jit(jax.grad(lambda v: loss(unravel(v), DATA)))
    steps = 1e-5 * np.eye(16)
    slopes = [(gradient_of(flat + step) - gradient_of(flat - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(full, slopes, atol=1e-7)
    assert np.linalg.eigvalsh(full)[0] < -0.1
    assert np.linalg.eigvalsh(gauss_newton)[0] > -1e-12


# Theorem 2.2.


def bowl(curvatures):
    """Loss 1/2 (theta - z)^T C (theta - z): curvature C whatever the data."""
    return lambda theta, batch: 0.5 * jnp.mean(((theta - batch) ** 2) @ jnp.asarray(curvatures))


UNEQUAL = bowl([10.0, 0.1])


def test_with_one_curvature_in_all_directions_zero_inner_product_is_zero_influence():
    data = np.random.default_rng(2).normal(size=(20, 3))
    theta, loss = jnp.asarray(data.mean(0)), bowl([2.0, 2.0, 2.0])
    forget, targets = data[:4], data[4:]
    inner = jax.vmap(lambda z: jax.grad(loss)(theta, z[None]) @ jax.grad(loss)(theta, forget))
    found = influence_on_loss(loss, theta, data, forget, targets).value
    np.testing.assert_allclose(found, inner(targets) / 2, rtol=1e-6)


def test_with_unequal_curvatures_orthogonal_gradients_still_have_influence():
    """The step from eq. 10 to eq. 7: what the theorem calls negligible is not."""
    loss, theta = UNEQUAL, jnp.zeros(2)
    # Gradients (-1, -1) and (-1, 1).
    forget, target = np.array([[0.1, 10.0]]), np.array([[0.1, -10.0]])
    data = np.concatenate([forget, -forget])
    inner = jax.grad(loss)(theta, forget) @ jax.grad(loss)(theta, target)
    np.testing.assert_allclose(inner, 0.0, atol=1e-12)
    found = partial(influence_on_loss, loss, theta, data, forget, target)
    np.testing.assert_allclose(found().value, [1 / 10 - 1 / 0.1], rtol=1e-6)
    # Damping far above the curvature turns H^-1 into a multiple of I, and the theorem holds.
    assert abs(1e4 * found(damping=1e4).value[0]) < 1e-2


def change_of_retained_loss(steps, rate):
    moved = optax.tree.add_scale(tree(START), -rate, steps)
    return float(LOSS(moved, RETAIN) - LOSS(tree(START), RETAIN))


LOSS, SLOPE = jax.jit(LOGISTIC), jax.jit(jax.grad(LOGISTIC))
START = THETA + np.array([0.3, -0.2, 0.4, 0.1])
RETAIN = rows(DATA, WITHOUT)


def test_at_a_minimum_the_projection_leaves_nothing_of_the_forget_gradient():
    """There (1-p) g_r + p g_f = 0: the two are one line, and surgery on whole sets is no step."""
    forget, retain = (SLOPE(tree(THETA), rows(DATA, index)) for index in (GROUP, WITHOUT))
    p = len(GROUP) / 60
    np.testing.assert_allclose((1 - p) * vector(retain), -p * vector(forget), atol=1e-12)
    assert np.linalg.norm(vector(project(forget, retain))) < 1e-10 * np.linalg.norm(vector(forget))


def test_projected_step_changes_the_retained_loss_in_second_order_and_by_the_curvature():
    ascent = jax.tree.map(jnp.negative, SLOPE(tree(START), rows(DATA, GROUP)))
    retain = SLOPE(tree(START), RETAIN)
    plain, projected = vector(ascent), vector(project(ascent, retain))
    first = -plain @ vector(retain)
    assert first > 1e-3
    np.testing.assert_allclose(change_of_retained_loss(ascent, 1e-5) / 1e-5, first, rtol=1e-3)
    second = 0.5 * projected @ hessian(START, RETAIN, even(RETAIN)) @ projected
    change = change_of_retained_loss(tree(projected), 1e-4)
    np.testing.assert_allclose(change / 1e-8, second, rtol=1e-3)


def test_adam_after_the_projection_brings_the_first_order_back_and_before_it_does_not():
    ascent = jax.tree.map(jnp.negative, SLOPE(tree(START), rows(DATA, GROUP)))
    retain = SLOPE(tree(START), RETAIN)
    adam = optax.scale_by_adam()

    def step(updates):
        return adam.update(updates, adam.init(updates))[0]

    after = step(project(ascent, retain))
    expected = -float(optax.tree.vdot(after, retain))
    assert abs(expected) > 1e-2
    np.testing.assert_allclose(change_of_retained_loss(after, 1e-6) / 1e-6, expected, rtol=1e-3)
    before = project(step(ascent), retain)
    assert abs(change_of_retained_loss(before, 1e-6)) / 1e-6 < 1e-4


# A small VAE.


def vae_outputs(params, batch):
    images, noise, _ = batch
    mean, log_variance = jnp.split(jnp.tanh(images @ params["in"]) @ params["posterior"], 2, -1)
    z = mean + jnp.exp(log_variance / 2) * noise
    return (
        jnp.tanh(z @ params["hidden"]) @ params["out"] + params["bias"],
        mean,
        log_variance,
        params,
    )


def negative_elbo(outputs, batch):
    drawn, mean, log_variance, params = outputs
    images, _, weights = batch
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, -1)
    reconstruction = jnp.sum(jax.nn.softplus(drawn) - images * drawn, -1)
    mean_loss = weights @ (reconstruction + kl) / weights.sum()
    return mean_loss + 0.02 * optax.tree.norm(params, squared=True)


VAE = ComposedLoss(vae_outputs, negative_elbo)


NELBO = jax.jit(VAE)


@jax.jit
def descend(params, batch, rate):
    """To the minimum next to `params`: Adam on all of the batch, its rate falling to 0."""
    adam = optax.adam(optax.cosine_decay_schedule(1.0, 4000))

    def step(carry, _):
        params, state = carry
        updates, state = adam.update(jax.grad(VAE)(params, batch), state)
        return (optax.tree.add_scale(params, rate, updates), state), None

    params = jax.lax.scan(step, (params, adam.init(params)), None, 4000)[0][0]
    return params, optax.tree.norm(jax.grad(VAE)(params, batch))


def test_removals_from_a_vae_are_predicted_next_to_the_trained_parameters():
    draw = np.random.default_rng(3)
    prototypes = draw.random((3, 8)) > 0.5
    images = np.clip(prototypes[np.arange(48) % 3] + 0.2 * draw.normal(size=(48, 8)), 0.0, 1.0)
    data = (images, draw.normal(size=(48, 1)), np.ones(48))
    shapes = {"in": (8, 3), "posterior": (3, 2), "hidden": (1, 3), "out": (3, 8), "bias": (8,)}
    start = {name: jnp.asarray(0.5 * draw.normal(size=shape)) for name, shape in shapes.items()}
    theta, slope = descend(start, data, 0.02)
    assert slope < 1e-4
    assert vae_outputs(theta, data)[1].std() > 0.1  # the latent says something of the image

    predicted, actual = [], []
    for number in range(8):
        out = np.arange(3) * 16 + 2 * number  # three images at once
        group, rest = rows(data, out), (*data[:2], 1.0 - np.isin(np.arange(48), out))
        change = group_removal(VAE, theta, data, group, tol=1e-8).change
        predicted.append(loss_change(VAE, theta, change, group).mean())
        retrained, slope = descend(theta, rest, 0.003)
        assert slope < 1e-4
        actual.append(NELBO(retrained, group) - NELBO(theta, group))
    assert np.corrcoef(predicted, actual)[0, 1] > 0.9
    np.testing.assert_array_less(0, actual)


# Bad input, and what is not solved.


def test_an_unsolved_system_shows_in_the_residual():
    z = rows(DATA, slice(0, 1))
    assert influence_on_params(LOGISTIC, tree(THETA), DATA, z, maxiter=1).residual > 1e-2


def test_zero_gradient_has_zero_influence_and_residual():
    found = influence_on_params(UNEQUAL, jnp.ones(2), np.ones((2, 2)), np.ones((1, 2)))
    np.testing.assert_array_equal(found.value, 0.0)
    assert found.residual == 0


def test_jit_in_float32_gives_the_same():
    z = rows(DATA, slice(5, 6))
    expected = vector(influence_on_params(LOGISTIC, tree(THETA), DATA, z, **TIGHT).value)
    compiled = jax.jit(partial(influence_on_params, LOGISTIC))
    found = compiled(*jax.tree.map(jnp.float32, (tree(THETA), DATA, z)), damping=0.0).value
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    np.testing.assert_allclose(vector(found), expected, rtol=1e-3)


def test_bad_input_is_refused_by_name():
    params, z = tree(THETA), rows(DATA, slice(0, 1))
    ask = partial(influence_on_params, LOGISTIC, params, DATA, z)
    with pytest.raises(ValueError, match=r"damping must be at least 0; got -1"):
        ask(damping=-1)
    with pytest.raises(ValueError, match="curvature must be"):
        ask(curvature="fisher")
    with pytest.raises(TypeError, match=r"give loss as ComposedLoss.*found function"):
        influence_on_params(bowl([1.0]), jnp.ones(1), z["x"], z["x"], curvature="gauss_newton")
    with pytest.raises(TypeError, match="params has a leaf w of dtype int"):
        influence_on_params(LOGISTIC, params | {"w": jnp.arange(3)}, DATA, z)
    with pytest.raises(ValueError, match="examples holds no examples"):
        influence_on_params(LOGISTIC, params, DATA, rows(DATA, slice(0, 0)))
    with pytest.raises(ValueError, match="targets holds no examples"):
        influence_on_loss(LOGISTIC, params, DATA, z, {})
    with pytest.raises(ValueError, match="order must be 1 or 2; got 3"):
        group_removal(LOGISTIC, params, DATA, z, order=3)
    with pytest.raises(ValueError, match="group has 60 examples and data 60: nothing would be"):
        group_removal(LOGISTIC, params, DATA, DATA)
    # A saddle on which conjugate gradients divide by zero.
    with pytest.raises(ValueError, match="or the curvature is not positive definite"):
        influence_on_params(bowl([1.0, -1.0]), jnp.zeros(2), np.ones((2, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="the influence is not finite"):
        influence_on_params(LOGISTIC, tree(np.full(4, np.nan)), DATA, z)
