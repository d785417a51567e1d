"""The transforms, in every place an optax chain or a Flax optimiser can put them."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from gsu_jax.surgery import (
    add_retain_gradient,
    measure_conflict,
    project,
    project_cone,
    project_conflicting,
    project_subspace,
)


def trees(n=2, dtype=jnp.float32, k=None):
    """Trees of the shape of a small model's parameters: an update, a retain gradient, ..."""
    rng = np.random.default_rng(0)
    lead = () if k is None else (k,)

    def leaf(*shape):
        return jnp.asarray(rng.standard_normal((*lead, *shape)), dtype)

    return [
        {"encoder": {"w": leaf(4, 3), "b": leaf(3)}, "decoder": {"w": leaf(3, 4)}} for _ in range(n)
    ]


def vector(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def cosine(u, r):
    u, r = vector(u), vector(r)
    return u @ r / np.linalg.norm(u) / np.linalg.norm(r)


def one_update(optimizer, updates, params, **extra_args):
    return jax.jit(optimizer.update)(updates, optimizer.init(params), params, **extra_args)


def assert_trees_close(a, b, tolerance=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    np.testing.assert_allclose(vector(a), vector(b), rtol=tolerance, atol=tolerance)


def test_before_an_optimiser_the_gradient_is_projected():
    u, r, params = trees(3)
    optimizer = optax.chain(project_conflicting(), optax.sgd(0.5))
    steps, state = one_update(optimizer, u, params, retain_grads=r)
    assert_trees_close(steps, jax.tree.map(lambda x: -0.5 * x, project(u, r)))
    np.testing.assert_allclose(optax.tree.get(state, "cosine"), cosine(u, r), rtol=1e-5)
    np.testing.assert_allclose(
        optax.tree.get(state, "update_norm"), np.linalg.norm(vector(u)), rtol=1e-5
    )
    np.testing.assert_allclose(
        optax.tree.get(state, "retain_norm"), np.linalg.norm(vector(r)), rtol=1e-5
    )
    assert optax.tree.get(state, "projected")


def test_adam_undoes_orthogonality_and_projecting_its_step_restores_it():
    u, r, params = trees(3)
    before = optax.chain(project_conflicting(), optax.adam(1e-3), measure_conflict())
    after = optax.chain(optax.adam(1e-3), project_conflicting(incoming="steps"), measure_conflict())
    steps, state = one_update(before, u, params, retain_grads=r)
    seen = optax.tree_utils.tree_get_all_with_path(state, "cosine")
    applied = optax.tree.get(
        state, "cosine", filtering=lambda path, _: "MeasureConflictState" in str(path)
    )
    assert len(seen) == 2
    np.testing.assert_allclose(applied, cosine(steps, r), rtol=1e-4)
    assert abs(applied) > 0.05
    steps, _ = one_update(after, u, params, retain_grads=r)
    assert abs(cosine(steps, r)) < 1e-6


def test_conflict_after_an_optimiser_removes_the_harmful_steps_only():
    r = {"w": jnp.array([1.0, 0.0])}
    after = optax.chain(optax.sgd(1.0), project_conflicting(when="conflict", incoming="steps"))
    before = optax.chain(project_conflicting(when="conflict"), optax.sgd(1.0))
    for u in ([-1.0, 1.0], [1.0, 1.0]):
        u = {"w": jnp.array(u)}
        assert_trees_close(
            one_update(after, u, u, retain_grads=r)[0], one_update(before, u, u, retain_grads=r)[0]
        )


def test_measured_cosine_has_the_sign_of_the_change_of_the_retained_loss():
    def retained_loss(x):
        return jnp.sum((x - 1.0) ** 2)

    params = jnp.zeros(3)
    r = jax.grad(retained_loss)(params)
    optimizer = optax.chain(optax.sgd(1e-3), measure_conflict())
    for update in (jnp.array([1.0, 0.2, 0.0]), jnp.array([-1.0, 0.2, 0.0])):
        steps, state = one_update(optimizer, update, params, retain_grads=r)
        np.testing.assert_array_equal(steps, -1e-3 * update)
        rise = retained_loss(params + steps) - retained_loss(params)
        predicted = state[-1].cosine * state[-1].step_norm * state[-1].retain_norm
        np.testing.assert_allclose(rise, predicted, rtol=2e-3)


def test_retain_gradient_given_to_update_wins_over_the_fixed_one():
    u, r, other = trees(3)
    fixed = project_conflicting(other)
    assert_trees_close(one_update(fixed, u, u)[0], project(u, other))
    assert_trees_close(one_update(fixed, u, u, retain_grads=r)[0], project(u, r))


def test_leading_axis_projects_out_the_whole_span():
    (u,), (rs,) = trees(1), trees(1, k=3)
    steps, state = one_update(project_conflicting(), u, u, retain_grads=rs)
    assert_trees_close(steps, project_subspace(u, rs))
    mean = jax.tree.map(lambda x: x.mean(0), rs)
    np.testing.assert_allclose(state.cosine, cosine(u, mean), rtol=1e-4)
    _, measured = one_update(measure_conflict(), u, u, retain_grads=rs)
    np.testing.assert_allclose(measured.cosine, state.cosine, rtol=1e-5)
    added, _ = one_update(add_retain_gradient(2.0), u, u, retain_grads=rs)
    assert_trees_close(added, jax.tree.map(lambda a, b: a + 2 * b, u, mean))


def test_conflict_with_a_span_is_the_projection_onto_the_cone():
    (u,), (rs,) = trees(1), trees(1, k=2)
    rs = jax.tree.map(lambda r, x: r - x, rs, u)  # both against the update
    updates, state = one_update(project_conflicting(when="conflict"), u, u, retain_grads=rs)
    assert_trees_close(updates, project_cone(u, rs))
    mean = jax.tree.map(lambda x: x.mean(0), rs)
    np.testing.assert_allclose(state.cosine, cosine(u, mean), rtol=1e-4)
    assert state.projected


def test_a_span_is_of_the_whole_tree():
    (u,), (rs,) = trees(1), trees(1, k=2)
    for when in ("always", "conflict"):
        transform = project_conflicting(when=when, scope="leaf")
        with pytest.raises(ValueError, match='use scope="global"'):
            transform.update(u, transform.init(u), retain_grads=rs)


@pytest.mark.parametrize(
    "transform", [project_conflicting(), measure_conflict(), add_retain_gradient(1.0)]
)
def test_missing_retain_gradient_says_how_to_give_it(transform):
    (u,) = trees(1)
    with pytest.raises(ValueError, match=r"call optimizer.update\(grads, state, params, retain"):
        transform.update(u, transform.init(u), u)


@pytest.mark.parametrize(
    "transform", [project_conflicting(), measure_conflict(), add_retain_gradient(1.0)]
)
def test_trees_that_do_not_match_are_refused_by_every_transform(transform):
    (u,) = trees(1)
    state = transform.init(u)
    with pytest.raises(ValueError, match="retain_grads has no leaf decoder/w"):
        transform.update(u, state, retain_grads={"encoder": u["encoder"]})
    integers = jax.tree.map(lambda x: x.astype(jnp.int32), u)
    with pytest.raises(TypeError, match="retain_grads has a leaf decoder/w of dtype int32"):
        transform.update(u, state, retain_grads=integers)


def test_options_are_checked_when_the_chain_is_built():
    for wrong in ({"when": "never"}, {"incoming": "step"}, {"scope": "layer"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            project_conflicting(**wrong)


def test_added_retain_gradient_follows_a_schedule():
    u, r = trees(2)
    transform = add_retain_gradient(optax.linear_schedule(0.0, 4.0, 4))
    state = transform.init(u)
    for count in range(3):
        updates, state = jax.jit(transform.update)(u, state, retain_grads=r)
        assert_trees_close(updates, jax.tree.map(lambda a, b, w=count: a + w * b, u, r))


def test_restricted_gradient_in_a_chain():
    u, r = trees(2)
    chain = optax.chain(project_conflicting(), add_retain_gradient(3.0))
    updates, _ = one_update(chain, u, u, retain_grads=r)
    np.testing.assert_allclose(
        vector(updates), vector(project(u, r)) + 3.0 * vector(r), rtol=1e-5, atol=1e-6
    )


def test_named_chain_keys_the_state_by_name():
    u, r = trees(2)
    chain = optax.named_chain(("surgery", project_conflicting()), ("adam", optax.adam(1e-3)))
    _, state = one_update(chain, u, u, retain_grads=r)
    np.testing.assert_allclose(state["surgery"].cosine, cosine(u, r), rtol=1e-5)


MASK = {"encoder": {"w": True, "b": False}, "decoder": {"w": True}}


def test_masked_projects_the_masked_part_by_its_own_inner_product():
    u, r = trees(2)
    masked = optax.masked(project_conflicting(), MASK, mask_compatible_extra_args=True)
    updates, _ = one_update(masked, u, u, retain_grads=r)
    np.testing.assert_array_equal(updates["encoder"]["b"], u["encoder"]["b"])

    def part(t):
        return [t["encoder"]["w"], t["decoder"]["w"]]

    assert_trees_close(part(updates), project(part(u), part(r)))


def test_partition_projects_one_part_and_not_the_other():
    u, r = trees(2)
    labels = {"encoder": "plain", "decoder": "surgery"}
    chain = optax.partition(
        {"plain": optax.sgd(1.0), "surgery": optax.chain(project_conflicting(), optax.sgd(1.0))},
        labels,
        mask_compatible_extra_args=True,
    )
    steps, _ = one_update(chain, u, u, retain_grads=r)
    assert_trees_close(steps["encoder"], jax.tree.map(jnp.negative, u["encoder"]))
    assert_trees_close(
        steps["decoder"], jax.tree.map(jnp.negative, project(u["decoder"], r["decoder"]))
    )


@pytest.mark.parametrize("given_at", ["construction", "update"])
@pytest.mark.parametrize(
    "transform", [project_conflicting, measure_conflict, lambda r=None: add_retain_gradient(1.0, r)]
)
def test_masking_without_the_extra_arguments_says_what_is_missing(transform, given_at):
    u, r = trees(2)
    fixed = given_at == "construction"
    masked = optax.masked(
        transform(r) if fixed else transform(), MASK, mask_compatible_extra_args=fixed
    )
    extra_args = {} if fixed else {"retain_grads": r}
    with pytest.raises(ValueError, match="mask_compatible_extra_args=True, and retain_grads to"):
        masked.update(u, masked.init(u), u, **extra_args)


def test_inject_hyperparams_changes_weight_and_rate_between_steps():
    u, r = trees(2)

    def make(learning_rate, weight):
        return optax.chain(
            project_conflicting(), add_retain_gradient(weight), optax.sgd(learning_rate)
        )

    injected = optax.inject_hyperparams(make)(learning_rate=0.1, weight=2.0)
    state = injected.init(u)
    steps, state = jax.jit(injected.update)(u, state, u, retain_grads=r)
    assert_trees_close(steps, one_update(make(0.1, 2.0), u, u, retain_grads=r)[0])
    state.hyperparams["weight"] = jnp.float32(5.0)
    steps, state = jax.jit(injected.update)(u, state, u, retain_grads=r)
    assert_trees_close(steps, one_update(make(0.1, 5.0), u, u, retain_grads=r)[0])

    surgery = optax.inject_hyperparams(project_conflicting)(when="conflict")
    updates, state = one_update(surgery, u, u, retain_grads=r)
    assert_trees_close(updates, project(u, r, when="conflict"))
    np.testing.assert_allclose(optax.tree.get(state, "cosine"), cosine(u, r), rtol=1e-5)


def test_multi_steps_projects_on_the_last_retain_gradient_so_accumulate_both():
    us, rs = trees(2), trees(4)[2:]
    chain = optax.MultiSteps(optax.chain(project_conflicting(), optax.sgd(1.0)), 2)
    state = chain.init(us[0])
    for u, r in zip(us, rs, strict=True):
        steps, state = chain.update(u, state, us[0], retain_grads=r)
    mean_u, mean_r = (jax.tree.map(lambda a, b: (a + b) / 2, *pair) for pair in (us, rs))
    on_the_last = jax.tree.map(jnp.negative, project(mean_u, rs[-1]))
    on_the_mean = jax.tree.map(jnp.negative, project(mean_u, mean_r))
    assert_trees_close(steps, on_the_last)
    assert np.abs(vector(on_the_last) - vector(on_the_mean)).max() > 1e-2

    def accumulate(total, pair):
        return jax.tree.map(lambda t, x: t + x / 2, total, pair), None

    pairs = jax.tree.map(lambda *x: jnp.stack(x), (us[0], rs[0]), (us[1], rs[1]))
    zeros = jax.tree.map(lambda x: jnp.zeros_like(x[0]), pairs)
    (u, r), _ = jax.lax.scan(accumulate, zeros, pairs)
    optimizer = optax.chain(project_conflicting(), optax.sgd(1.0))
    assert_trees_close(one_update(optimizer, u, us[0], retain_grads=r)[0], on_the_mean)


def test_multi_steps_as_a_transform_drops_extra_arguments_and_the_error_says_so():
    u, r = trees(2)
    inner = optax.MultiSteps(project_conflicting(), 2).gradient_transformation()
    chain = optax.chain(inner, optax.sgd(1.0))
    with pytest.raises(ValueError, match=r"such as MultiSteps\(...\).gradient_transformation"):
        chain.update(u, chain.init(u), u, retain_grads=r)


def test_nnx_optimizer_takes_retain_grads():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(
        model, optax.chain(project_conflicting(), optax.sgd(1.0)), wrt=nnx.Param
    )

    def loss(model, x):
        return jnp.mean(model(x) ** 2)

    before = nnx.as_pure(nnx.state(model, nnx.Param))
    rng = np.random.default_rng(0)
    x, y = (jnp.float32(rng.normal(size=(5, 3))) for _ in range(2))
    u, r = nnx.grad(loss)(model, x), nnx.grad(loss)(model, y)

    @nnx.jit
    def train(model, optimizer, u, r):
        optimizer.update(model, u, retain_grads=r)

    train(model, optimizer, u, r)
    after = nnx.as_pure(nnx.state(model, nnx.Param))
    moved = jax.tree.map(lambda a, b: b - a, before, after)
    assert_trees_close(
        jax.tree.leaves(moved),
        [-x for x in jax.tree.leaves(project(nnx.as_pure(u), nnx.as_pure(r)))],
        1e-5,
    )


def test_linen_parameters_and_frozen_subtrees():
    model = nn.Dense(2)
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))

    def loss(params, x):
        return jnp.mean(model.apply(params, x) ** 2)

    u, r = (jax.grad(loss)(params, jax.random.normal(jax.random.key(i), (4, 3))) for i in (1, 2))
    updates, _ = one_update(project_conflicting(), u, params, retain_grads=r)
    assert_trees_close(updates, project(u, r))
    with pytest.raises(ValueError, match="no leaf params/kernel"):
        project(u, {"params": {"bias": r["params"]["bias"]}})


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    weight: jax.Array
    bias: jax.Array | None


def test_equinox_like_trees_registered_dataclasses_with_none_leaves():
    u = [Layer(jnp.array([1.0, 1.0]), None), Layer(jnp.array([2.0]), jnp.array([1.0]))]
    r = [Layer(jnp.array([1.0, 0.0]), None), Layer(jnp.array([0.0]), jnp.array([0.0]))]
    updates, _ = one_update(project_conflicting(), u, u, retain_grads=r)
    np.testing.assert_array_equal(vector(updates), [0.0, 1.0, 2.0, 1.0])
    assert updates[0].bias is None
    with pytest.raises(ValueError, match="leaf 0/bias that the updates have not"):
        project(u, [Layer(jnp.array([1.0, 0.0]), jnp.ones(1)), r[1]])


TRANSFORMS = {
    "project": project_conflicting(),
    "conflict": project_conflicting(when="conflict", scope="leaf"),
    "labels": project_conflicting(scope={"encoder": 0, "decoder": 1}),
    "measure": measure_conflict(),
    "add": add_retain_gradient(0.5),
    "scheduled": add_retain_gradient(optax.constant_schedule(0.5)),
}
each_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())


@each_transform
def test_unknown_extra_arguments_are_ignored(transform):
    u, r = trees(2)
    expected = one_update(transform, u, u, retain_grads=r)
    assert_trees_close(one_update(transform, u, u, retain_grads=r, value=1.0), expected)


@each_transform
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_dtypes_and_the_state_are_stable_under_cond_and_scan(transform, dtype):
    with jax.enable_x64(dtype == "float64"):
        u, r = trees(2, dtype)
        state = transform.init(jax.eval_shape(lambda: u))

        def step(carry, flag):
            updates, state = carry
            return jax.lax.cond(
                flag,
                lambda: transform.update(updates, state, retain_grads=r),
                lambda: (updates, state),
            ), None

        (updates, new_state), _ = jax.lax.scan(step, (u, state), jnp.array([True, False, True]))

        def kinds(tree):
            return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

        assert kinds(updates) == kinds(u)
        assert kinds(new_state) == kinds(state)


@each_transform
def test_no_implicit_promotion_of_dtype_or_rank(transform):
    u, r = trees(1, jnp.bfloat16)[0], trees(1)[0]
    state = transform.init(u)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        jax.jit(transform.update)(u, state, retain_grads=r)


def test_a_span_needs_no_implicit_promotion_either():
    (u,), (rs,) = trees(1, jnp.bfloat16), trees(1, k=2)
    transform = project_conflicting()
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        jax.jit(transform.update)(u, transform.init(u), retain_grads=rs)


@each_transform
def test_map_params_finds_no_copy_of_the_parameters_in_the_state(transform):
    (params,) = trees(1)
    state = transform.init(params)
    mapped = optax.tree.map_params(transform, lambda x: x + 1, state)
    assert jax.tree.leaves(mapped) == jax.tree.leaves(state)


def test_one_compilation_for_any_number_of_steps_and_no_transfer():
    u, r, params = trees(3)
    chain = optax.chain(
        project_conflicting(), add_retain_gradient(1.0), optax.adam(1e-3), measure_conflict()
    )
    traces = 0

    @jax.jit
    def step(params, state, u, r):
        nonlocal traces
        traces += 1
        steps, state = chain.update(u, state, params, retain_grads=r)
        return optax.apply_updates(params, steps), state

    state = jax.jit(chain.init)(params)
    params, state = step(params, state, u, r)
    with jax.transfer_guard("disallow"):
        for _ in range(5):
            params, state = step(params, state, u, r)
    assert traces == 1


def test_vmap_over_models_equals_one_model_at_a_time():
    us, rs = trees(2, k=3)
    chain = optax.chain(project_conflicting(), optax.adam(1e-3), measure_conflict())

    def run(u, r):
        return chain.update(u, chain.init(u), u, retain_grads=r)

    steps, state = jax.jit(jax.vmap(run))(us, rs)
    for i in range(3):
        u, r = jax.tree.map(lambda x, i=i: x[i], (us, rs))
        expected, expected_state = run(u, r)
        assert_trees_close(jax.tree.map(lambda x, i=i: x[i], steps), expected, 1e-5)
        np.testing.assert_allclose(state[-1].cosine[i], expected_state[-1].cosine, atol=1e-5)


@pytest.mark.parametrize("where", ["before", "after"])
def test_forgetting_a_parabola_keeps_the_retained_one(where):
    """Two parabolas with different axes: one can be climbed along the valley of the other."""

    def forget_loss(x):
        return x[0] ** 2 + x[1]

    def retain_loss(x):
        return 50.0 * x[0] ** 2

    surgery = [project_conflicting(incoming="gradients" if where == "before" else "steps")]
    sgd = [optax.sgd(0.01)]
    chain = optax.chain(*(surgery + sgd if where == "before" else sgd + surgery))

    @jax.jit
    def step(carry, _):
        x, state = carry
        u = jax.grad(lambda x: -forget_loss(x))(x)
        steps, state = chain.update(u, state, x, retain_grads=jax.grad(retain_loss)(x))
        return (x + steps, state), None

    start = jnp.array([0.3, 0.0])
    (x, _), _ = jax.lax.scan(step, (start, chain.init(start)), length=100)
    assert forget_loss(x) > forget_loss(start) + 0.9
    np.testing.assert_allclose(retain_loss(x), retain_loss(start), rtol=1e-5)
