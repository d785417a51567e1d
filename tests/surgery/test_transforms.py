"""What each transform does to the updates of a chain, and what its state shows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    assert_orthogonal,
    assert_trees_close,
    cosine,
    random_tree,
    rows,
    vector,
)

from gsu_jax.surgery import (
    add_retain_gradient,
    conflict_metrics,
    measure_conflict,
    project,
    project_conflicting,
)


def one_update(optimizer, updates, **extra_args):
    return jax.jit(optimizer.update)(updates, optimizer.init(updates), updates, **extra_args)


def test_before_an_optimizer_the_gradient_is_projected():
    u, r = random_tree(0), random_tree(1)
    steps, state = one_update(optax.chain(project_conflicting(), optax.sgd(0.5)), u, retain_grads=r)
    assert_trees_close(steps, jax.tree.map(lambda x: -0.5 * x, project(u, r)))
    found = [optax.tree.get(state, name) for name in ("cosine", "update_norm", "retain_norm")]
    expected = [cosine(u, r), np.linalg.norm(vector(u)), np.linalg.norm(vector(r))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert optax.tree.get(state, "projected")


def test_conflict_after_an_optimizer_removes_only_the_harmful_steps():
    r = {"w": jnp.float32([1, 0])}
    after = optax.chain(optax.sgd(1.0), project_conflicting(when="conflict", incoming="steps"))
    before = optax.chain(project_conflicting(when="conflict"), optax.sgd(1.0))
    for u in ([-1, 1], [1, 1]):
        u = {"w": jnp.float32(u)}
        expected = one_update(before, u, retain_grads=r)[0]
        assert_trees_close(one_update(after, u, retain_grads=r)[0], expected)


@pytest.mark.parametrize(
    "make",
    [project_conflicting, measure_conflict, lambda r=None: add_retain_gradient(2.0, r)],
    ids=["project", "measure", "add"],
)
def test_retain_gradient_of_update_takes_precedence(make):
    u, r, other = (random_tree(seed) for seed in range(3))
    update = jax.jit(lambda fixed, **given: make(fixed).update(u, make().init(u), **given))
    expected = [update(x, retain_grads=x) for x in (r, other)]
    assert_trees_close(update(other), expected[1])
    assert_trees_close(update(other, retain_grads=r), expected[0])


def test_leading_axis_projects_out_the_whole_span():
    u, rs = random_tree(0), random_tree(1, k=3)
    updates, state = one_update(project_conflicting(), u, retain_grads=rs)
    left = np.abs(rows(rs) @ vector(updates)).max()
    assert left <= 1e-5
    np.testing.assert_allclose(state.cosine, cosine(u, rows(rs).mean(0)), rtol=1e-4)


def test_a_scope_and_a_set_exclude_each_other():
    u, rs = random_tree(0), random_tree(1, k=2)
    for scope in ("leaf", {"encoder": 0, "decoder": 1}):
        transform = project_conflicting(scope=scope)
        with pytest.raises(ValueError, match="scope"):
            transform.update(u, transform.init(u), retain_grads=rs)


@pytest.mark.parametrize("option", ["when", "scope", "incoming"])
def test_options_are_checked_when_the_chain_is_built(option):
    with pytest.raises(ValueError, match=rf"{option}.*got 'never'"):
        project_conflicting(**{option: "never"})


def test_adam_undoes_orthogonality_and_projecting_its_step_restores_it():
    u, r = random_tree(4), random_tree(5)
    before = optax.chain(project_conflicting(), optax.adam(1e-3), measure_conflict())
    after = optax.chain(optax.adam(1e-3), project_conflicting(incoming="steps"), measure_conflict())
    with jax.numpy_dtype_promotion("standard"):
        steps, state = one_update(before, u, retain_grads=r)
        np.testing.assert_allclose(state[-1].cosine, cosine(steps, r), rtol=1e-4)
        assert abs(state[-1].cosine) > 0.05
        steps, state = one_update(after, u, retain_grads=r)
    assert_orthogonal(steps, steps, r)
    assert abs(state[-1].cosine) < 1e-6


def test_measured_cosine_has_the_sign_of_the_change_of_the_retained_loss():
    def retained_loss(x):
        return jnp.sum((x - 1.0) ** 2)

    params = jnp.zeros(3)
    r = jax.grad(retained_loss)(params)
    optimizer = optax.chain(optax.sgd(1e-3), measure_conflict())
    for update in (jnp.float32([1, 0.2, 0]), jnp.float32([-1, 0.2, 0])):
        steps, state = one_update(optimizer, update, retain_grads=r)
        np.testing.assert_array_equal(steps, -1e-3 * update)
        rise = retained_loss(params + steps) - retained_loss(params)
        predicted = state[-1].cosine * state[-1].step_norm * state[-1].retain_norm
        np.testing.assert_allclose(rise, predicted, rtol=2e-3)
        np.testing.assert_allclose(state[-1].step_norm, np.linalg.norm(steps), rtol=1e-6)


def test_metrics_tell_the_incoming_cosine_from_the_applied_one():
    u, r = random_tree(0), random_tree(1)
    chain = optax.chain(project_conflicting(), optax.sgd(1.0), measure_conflict())
    _, state = one_update(chain, u, retain_grads=r)
    metrics = conflict_metrics(state)
    assert metrics == {"cosine": state[0].cosine, "applied_cosine": state[-1].cosine}
    assert conflict_metrics(optax.sgd(1.0).init(u)) == {}


def test_added_retain_gradient_follows_a_schedule():
    u, r = random_tree(0), random_tree(1)
    transform = add_retain_gradient(lambda count: 2.0 * count.astype(jnp.float32))
    state, update = transform.init(u), jax.jit(transform.update)
    for count in range(3):
        assert state.count == count
        updates, state = update(u, state, retain_grads=r)
        assert_trees_close(updates, jax.tree.map(lambda a, b, w=2 * count: a + w * b, u, r))


@pytest.mark.parametrize("where", ["before", "after"])
def test_forgetting_a_parabola_preserves_the_retained_one(where):
    """Two parabolas with different axes: one can be climbed along the valley of the other."""

    def forget_loss(x):
        return x[0] ** 2 + x[1]

    def retain_loss(x):
        return 50.0 * x[0] ** 2

    surgery = project_conflicting(incoming="gradients" if where == "before" else "steps")
    order = (surgery, optax.sgd(0.01)) if where == "before" else (optax.sgd(0.01), surgery)
    chain = optax.chain(*order)

    @jax.jit
    def step(carry, _):
        x, state = carry
        u = jax.grad(lambda x: -forget_loss(x))(x)
        steps, state = chain.update(u, state, x, retain_grads=jax.grad(retain_loss)(x))
        return (x + steps, state), None

    start = jnp.float32([0.3, 0])
    (x, _), _ = jax.lax.scan(step, (start, chain.init(start)), length=100)
    assert forget_loss(x) > forget_loss(start) + 0.9
    np.testing.assert_allclose(retain_loss(x), retain_loss(start), rtol=1e-5)
