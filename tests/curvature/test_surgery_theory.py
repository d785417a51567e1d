"""What a projected step does to the retained loss, by the curvature."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import vector
from logistic_regression import LOSS, N, even, hessian, take, tree

from gsu_jax.surgery import project


@pytest.fixture(scope="module")
def sets(data, group):
    return take(data, group), take(data, np.setdiff1d(np.arange(N), group))


@pytest.fixture
def start(theta):
    return theta + np.array([0.3, -0.2, 0.4, 0.1])


@pytest.fixture
def gradients(start, sets):
    """The ascent of the forget loss in the descent convention, and the retain gradient."""
    slope = jax.jit(jax.grad(LOSS))
    forget, retain = (slope(tree(start), batch) for batch in sets)
    return jax.tree.map(jnp.negative, forget), retain


@pytest.fixture
def change_of_retained_loss(start, sets):
    """The change of the retained loss along steps."""
    loss = jax.jit(LOSS)

    def change(steps, rate):
        moved = optax.tree.add_scale(tree(start), -rate, steps)
        return float(loss(moved, sets[1]) - loss(tree(start), sets[1]))

    return change


def test_at_a_minimum_the_projection_leaves_nothing_of_the_forget_gradient(theta, sets, group):
    """There (1-p) g_r + p g_f = 0: the two are one line, and surgery on whole sets is no step."""
    forget, retain = (jax.grad(LOSS)(tree(theta), batch) for batch in sets)
    p = len(group) / N
    np.testing.assert_allclose((1 - p) * vector(retain), -p * vector(forget), atol=1e-12)
    assert np.linalg.norm(vector(project(forget, retain))) < 1e-10 * np.linalg.norm(vector(forget))


def test_projected_step_changes_the_retained_loss_in_second_order_by_the_curvature(
    gradients, change_of_retained_loss, start, sets
):
    ascent, retain = gradients
    projected = vector(project(ascent, retain))
    first = -vector(ascent) @ vector(retain)
    assert first > 1e-3
    np.testing.assert_allclose(change_of_retained_loss(ascent, 1e-5) / 1e-5, first, rtol=1e-3)
    second = 0.5 * projected @ hessian(start, sets[1], even(sets[1])) @ projected
    change = change_of_retained_loss(tree(projected), 1e-4)
    np.testing.assert_allclose(change / 1e-8, second, rtol=1e-3)


def test_adam_after_the_projection_brings_the_first_order_back_and_before_it_does_not(
    gradients, change_of_retained_loss
):
    ascent, retain = gradients
    adam = optax.scale_by_adam()

    def step(updates):
        with jax.numpy_dtype_promotion("standard"):
            return adam.update(updates, adam.init(updates))[0]

    after = step(project(ascent, retain))
    expected = -float(optax.tree.vdot(after, retain))
    assert abs(expected) > 1e-2
    np.testing.assert_allclose(change_of_retained_loss(after, 1e-6) / 1e-6, expected, rtol=1e-3)
    before = project(step(ascent), retain)
    assert abs(change_of_retained_loss(before, 1e-6)) / 1e-6 < 1e-4
