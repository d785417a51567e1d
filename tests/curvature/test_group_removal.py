"""The removal of a group against leave-out minima, found exactly in float64, and on a small VAE."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import vector
from logistic_regression import LOSS, N, even, gradient, hessian, minimum, take, tree

from gsu_jax.curvature import ComposedLoss, group_removal, influence_on_params, loss_change

TIGHT = {"tol": 1e-12}


def test_terms_are_the_taylor_coefficients_of_the_path_to_the_removal(data, theta, group):
    p, step = len(group) / N, 1e-3
    away = p / (1 - p) * (even(data) - np.isin(np.arange(N), group) / len(group))
    ahead, behind = (minimum(data, even(data) + sign * step * away) for sign in (1, -1))
    options = {"order": 2, "third_derivative": True, **TIGHT}
    found = group_removal(LOSS, tree(theta), data, take(data, group), **options)
    np.testing.assert_allclose(vector(found.first), (ahead - behind) / (2 * step), rtol=1e-5)
    second = (ahead + behind - 2 * theta) / (2 * step**2)
    np.testing.assert_allclose(vector(found.second), second, rtol=1e-4)


def test_each_order_comes_nearer_to_leave_out_retraining(data, theta, group):
    rest = take(data, np.setdiff1d(np.arange(N), group))
    retrained = minimum(rest, even(rest)) - theta
    remove = partial(group_removal, LOSS, tree(theta), data, take(data, group), **TIGHT)
    newton = influence_on_params(LOSS, tree(theta), rest, rest, **TIGHT).value
    second_order = remove(order=2)
    errors = [
        np.linalg.norm(vector(change) - retrained) / np.linalg.norm(retrained)
        for change in (
            second_order.first,
            second_order.change,
            remove(order=2, third_derivative=True).change,
            newton,
        )
    ]
    assert errors[2] < errors[1] / 5
    assert errors[1] < errors[0] / 2
    assert errors[3] < errors[0] / 2
    first_order = remove()
    assert first_order.second is None
    np.testing.assert_allclose(vector(first_order.change), vector(second_order.first), rtol=1e-9)


def test_second_order_term_is_equation_8_with_the_sign_of_a_removal(data, theta, group):
    """Eq. 8's A H^-1 sum_U grad l is the coefficient of epsilon^2 in an upweighting."""
    m, members = len(group), take(data, group)
    h, h_group = hessian(theta, data, even(data)), hessian(theta, members, even(members))
    a = (m / N) / (1 - m / N) * (np.eye(4) - np.linalg.solve(h, h_group))
    equation_8 = a @ np.linalg.solve(h, m * gradient(theta, members, even(members)))
    found = group_removal(LOSS, tree(theta), data, members, order=2, **TIGHT).second
    np.testing.assert_allclose(-(N - m) * vector(found), equation_8, rtol=1e-8)


def test_removal_of_a_group_like_the_whole_changes_nothing(data, theta, group):
    """Also away from the minimum, where the gradient of all the data is not zero."""
    whole = take(data, np.resize(group, N))
    found = group_removal(LOSS, tree(theta + 1), whole, take(data, group), order=2, **TIGHT)
    np.testing.assert_allclose(vector(found.change), 0.0, atol=1e-12)


def test_wrong_orders_and_groups_are_refused(data, theta):
    with pytest.raises(ValueError, match=r"order .*got 3"):
        group_removal(LOSS, tree(theta), data, take(data, slice(1)), order=3)
    with pytest.raises(ValueError, match=r"group .*got 60 of 60"):
        group_removal(LOSS, tree(theta), data, data)
    with pytest.raises(ValueError, match="group"):
        group_removal(LOSS, tree(theta), data, {})
    with pytest.raises(ValueError, match=r"damping .*got -1"):
        group_removal(LOSS, tree(theta), data, take(data, slice(1)), damping=-1)


# A small VAE.


def outputs(params, batch):
    images, noise, _ = batch
    mean, log_variance = jnp.split(jnp.tanh(images @ params["in"]) @ params["posterior"], 2, -1)
    z = mean + jnp.exp(log_variance / 2) * noise
    drawn = jnp.tanh(z @ params["hidden"]) @ params["out"] + params["bias"][None]
    return drawn, mean, log_variance, params


def negative_elbo(outputs, batch):
    drawn, mean, log_variance, params = outputs
    images, _, weights = batch
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, -1)
    reconstruction = jnp.sum(jax.nn.softplus(drawn) - images * drawn, -1)
    mean_loss = weights @ (reconstruction + kl) / weights.sum()
    return mean_loss + 0.02 * optax.tree.norm(params, squared=True)


VAE = ComposedLoss(outputs, negative_elbo)


@jax.jit
def descend(params, batch, rate):
    """To the minimum next to `params`: Adam on the whole batch, with a rate that falls to 0."""
    adam = optax.adam(optax.cosine_decay_schedule(1.0, 4000))

    def step(carry, _):
        params, state = carry
        updates, state = adam.update(jax.grad(VAE)(params, batch), state)
        return (optax.tree.add_scale(params, rate, updates), state), None

    params = jax.lax.scan(step, (params, adam.init(params)), None, 4000)[0][0]
    return params, optax.tree.norm(jax.grad(VAE)(params, batch))


@pytest.mark.long
def test_removals_from_a_vae_are_predicted_next_to_the_trained_parameters():
    draw = np.random.default_rng(3)
    prototypes = draw.random((3, 8)) > 0.5
    images = np.clip(prototypes[np.arange(48) % 3] + 0.2 * draw.normal(size=(48, 8)), 0.0, 1.0)
    data = (images, draw.normal(size=(48, 1)), np.ones(48))
    shapes = {"in": (8, 3), "posterior": (3, 2), "hidden": (1, 3), "out": (3, 8), "bias": (8,)}
    start = {name: jnp.asarray(0.5 * draw.normal(size=shape)) for name, shape in shapes.items()}
    nelbo = jax.jit(VAE)
    with jax.numpy_dtype_promotion("standard"):
        theta, slope = descend(start, data, 0.02)
        assert slope < 1e-4
        assert outputs(theta, data)[1].std() > 0.1  # the latent depends on the image
        predicted, actual = [], []
        for number in range(8):
            out = np.arange(3) * 16 + 2 * number  # three images at once
            group, rest = take(data, out), (*data[:2], 1.0 - np.isin(np.arange(48), out))
            change = group_removal(VAE, theta, data, group, tol=1e-8).change
            predicted.append(loss_change(VAE, theta, change, group).mean())
            retrained, slope = descend(theta, rest, 0.003)
            assert slope < 1e-4
            actual.append(nelbo(retrained, group) - nelbo(theta, group))
    assert np.corrcoef(predicted, actual)[0, 1] > 0.9
    np.testing.assert_array_less(0, actual)
