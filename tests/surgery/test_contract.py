"""What every transform and rule promises, whatever it computes."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import count_compilations
from helpers import (
    assert_finite,
    assert_same_structure,
    assert_scale_equivariant,
    assert_trees_close,
    assert_trees_equal,
    random_tree,
    vector,
)
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gsu_jax.surgery import (
    add_retain_gradient,
    layer_conflicts,
    measure_conflict,
    multi_steps,
    project_conflicting,
)
from gsu_jax.surgery.rules import (
    barrier,
    cagrad,
    gru,
    nash,
    pcgrad,
    project_retain,
    projected_adam,
)

TRANSFORMS = {
    "always": project_conflicting,
    "conflict": partial(project_conflicting, when="conflict", scope="leaf"),
    "labels": partial(project_conflicting, scope={"encoder": 0, "decoder": 1}),
    "steps": partial(project_conflicting, when="conflict", incoming="steps"),
    "measure": measure_conflict,
    "layers": layer_conflicts,
    "add": partial(add_retain_gradient, 0.5),
    "scheduled": partial(add_retain_gradient, optax.constant_schedule(0.5)),
    "pcgrad": pcgrad,
    "cagrad": cagrad,
    "gru": gru,
    "nash": nash,
    "barrier": barrier,
    "bome": partial(barrier, form="bome"),
    "project_retain": project_retain,
    "projected_adam": partial(projected_adam, 0.1),
    "careful_adam": partial(projected_adam, 0.1, when="conflict"),
    "multi_steps": lambda: multi_steps(project_conflicting(), 1),
}
PROJECTIONS = ("always", "conflict", "labels", "steps", "multi_steps")
ADAMS = ("projected_adam", "careful_adam")
SHAPES = {"encoder": {"kernel": (8, 16), "bias": (16,)}, "decoder": {"kernel": (16, 1)}}
tree = partial(random_tree, shapes=SHAPES)
each = pytest.mark.parametrize("name", TRANSFORMS)
# optax's own bias correction promotes its count.
PROMOTING = ("gru", *ADAMS)


@pytest.fixture(autouse=True)
def promotion(request, strict_promotion):
    """No implicit promotion in a transform that does not call optax's bias correction."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    with jax.numpy_dtype_promotion("standard" if name in PROMOTING else "strict"):
        yield


@cache
def compiled(name):
    """The transform and its compiled update, shared by the tests."""
    transform = TRANSFORMS[name]()
    return transform, jax.jit(transform.update)


def one_update(name, updates, retain_grads, **extra_args):
    transform, update = compiled(name)
    return update(updates, transform.init(updates), retain_grads=retain_grads, **extra_args)


@each
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_dtypes_of_updates_and_state_are_stable_under_cond_and_scan(name, dtype):
    transform = TRANSFORMS[name]()

    def run(updates, r):
        def step(carry, flag):
            updates, state = carry
            return jax.lax.cond(
                flag,
                lambda: transform.update(updates, state, retain_grads=r),
                lambda: (updates, state),
            ), None

        carry = updates, transform.init(updates)
        return carry, jax.lax.scan(step, carry, jnp.array([True, False]))[0]

    with jax.enable_x64(dtype == "float64"):
        u, r = tree(0, dtype=dtype), tree(1)
        before, after = jax.eval_shape(run, u, r)
        assert_same_structure(after, before)
        assert_same_structure(after[0], u)


@pytest.mark.parametrize("name", ["always", "cagrad", "gru", "projected_adam"])
def test_low_precision_updates_are_those_of_float32_rounded(name):
    u, r = tree(0, dtype=jnp.bfloat16), tree(1)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), u)
    found, expected = one_update(name, u, r)[0], one_update(name, wide, r)[0]
    assert_same_structure(found, u)
    found = jax.tree.map(lambda x: x.astype(jnp.float32), found)
    assert_trees_close(found, expected, rtol=0.03, atol=0.03)


@each
def test_updates_are_finite_and_arguments_are_left_alone(name):
    u, r = (jax.tree.map(np.asarray, tree(seed)) for seed in (0, 12))
    kept = jax.tree.map(np.copy, (u, r))
    updates, state = one_update(name, u, r)
    assert_finite((updates, state))
    assert_same_structure(updates, u)
    assert_trees_equal((u, r), kept)


@each
def test_compiles_once_and_transfers_nothing(name):
    u, r = tree(0), tree(1)
    transform, update = compiled(name)
    u, state = update(u, transform.init(u), retain_grads=r)
    with jax.transfer_guard("disallow"), count_compilations() as compilations:
        for _ in range(3):
            u, state = update(u, state, retain_grads=r)
    assert not compilations


SPECS = {
    "encoder": {"kernel": P(None, "data"), "bias": P("data")},
    "decoder": {"kernel": P("data", None)},
}


@each
def test_eight_devices_give_the_updates_of_one(name):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    u, r = tree(0), tree(1)
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), SPECS)
    sharded, _ = one_update(name, *jax.device_put((u, r), (shardings, shardings)))
    assert_trees_close(sharded, one_update(name, u, r)[0], rtol=2e-5, atol=2e-6)


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_retain_gradient_shows_and_is_not_projected(name, bad):
    u, r = tree(0), tree(1)
    r = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(bad), r)
    updates, state = one_update(name, u, r)
    cosine, projected = (optax.tree.get(state, key) for key in ("cosine", "projected"))
    assert cosine is None or np.isnan(cosine)
    assert not projected
    if name in (*PROJECTIONS, "measure", "gru"):
        assert_trees_equal(updates, u)
    if name in ADAMS:
        assert_finite(updates)


@each
def test_zero_retain_gradient_projects_nothing(name):
    u = tree(0)
    zero = jax.tree.map(jnp.zeros_like, u)
    adam = optax.adam(0.1)
    expected = {
        "cagrad": vector(u) / 2,
        **dict.fromkeys(("barrier", "bome"), 0.1 * vector(u)),
        "nash": np.sqrt(2) * vector(u) / np.linalg.norm(vector(u)),
        "project_retain": 0 * vector(u),
        **dict.fromkeys(ADAMS, vector(adam.update(u, adam.init(u))[0]) if name in ADAMS else None),
    }.get(name, vector(u))
    updates, state = one_update(name, u, zero)
    np.testing.assert_allclose(vector(updates), expected, rtol=1e-5, atol=1e-7)
    assert not optax.tree.get(state, "projected")


@each
def test_zero_updates_are_finite(name):
    r = tree(1)
    zero = jax.tree.map(jnp.zeros_like, r)
    assert_finite(one_update(name, zero, r))
    assert_finite(one_update(name, zero, zero))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in (*ADAMS, "nash")])
def test_updates_scale_with_both_gradients(name):
    for factor in (1e-12, 1e12):
        assert_scale_equivariant(lambda u, r: one_update(name, u, r)[0], tree(0), tree(12), factor)


@pytest.mark.parametrize(
    "name",
    ["measure", "layers", "add", "pcgrad", "cagrad", "gru", "nash", "barrier", "project_retain"],
)
def test_a_set_counts_as_its_mean(name):
    u, rs = tree(0), tree(1, k=3)
    expected = one_update(name, u, jax.tree.map(lambda r: r.mean(0), rs))
    assert_trees_close(one_update(name, u, rs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["always", "pcgrad", "gru", "projected_adam"])
def test_over_an_axis_both_gradients_are_averaged_first(name):
    us, rs = tree(0, k=2), tree(1, k=2)
    transform = TRANSFORMS[name](axis_name="batch")

    def update(u, r):
        return transform.update(u, transform.init(u), retain_grads=r)[0]

    found = jax.jit(jax.vmap(update, axis_name="batch"))(us, rs)
    mean = [jax.tree.map(lambda x: x.mean(0), tree) for tree in (us, rs)]
    for i in range(2):
        one = jax.tree.map(lambda x, i=i: x[i], found)
        assert_trees_close(one, one_update(name, *mean)[0], rtol=1e-5, atol=1e-5)


@each
def test_unknown_extra_arguments_are_ignored(name):
    u, r = tree(0), tree(1)
    assert_trees_equal(one_update(name, u, r, value=1.0), one_update(name, u, r))


@each
def test_mistakes_are_named(name):
    u, transform = tree(0), TRANSFORMS[name]()
    state = transform.init(u)
    with pytest.raises(ValueError, match="retain_grads="):
        transform.update(u, state)
    with pytest.raises(ValueError, match="no leaf decoder/kernel"):
        transform.update(u, state, retain_grads={"encoder": u["encoder"]})
    integers = jax.tree.map(lambda x: x.astype(jnp.int32), u)
    with pytest.raises(TypeError, match=r"retain_grads .*decoder/kernel .*int32"):
        transform.update(u, state, retain_grads=integers)
    masked = optax.masked(transform, {"encoder": True, "decoder": False})
    with pytest.raises(ValueError, match="mask_compatible_extra_args=True"):
        masked.update(u, masked.init(u), u, retain_grads=u)


# A state with an entry per layer has none for the placeholder that optax puts for the parameters.
WITH_GRADIENTS_OR_LAYERS_IN_STATE = (*PROMOTING, "multi_steps", "layers")


@pytest.mark.parametrize(
    "name", [name for name in TRANSFORMS if name not in WITH_GRADIENTS_OR_LAYERS_IN_STATE]
)
def test_state_holds_no_copy_of_the_parameters(name):
    transform, _ = compiled(name)
    state = transform.init(tree(0))
    mapped = optax.tree.map_params(transform, lambda x: x + 1, state)
    assert jax.tree.leaves(mapped) == jax.tree.leaves(state)
