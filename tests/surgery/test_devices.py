"""Eight simulated devices: every way to run on them gives the steps of one device.

With SGD and a loss without noise: Adam would hide a gradient that is eight times too large.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gsu_jax.surgery import (
    add_retain_gradient,
    forget_retain_grads,
    measure_conflict,
    project,
    project_conflicting,
    project_subspace,
)

pytestmark = pytest.mark.long

DEVICES = 8
STEPS = 3
KEY = jax.random.key(0)


def loss(params, batch, key):
    del key
    hidden = jnp.tanh(batch["x"] @ params["w"] + params["b"][None])
    return jnp.mean((hidden @ params["v"] - batch["y"]) ** 2)


def make_problem():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.float32(rng.standard_normal(shape))

    params = {"w": 0.5 * normal(8, 16), "b": normal(16), "v": 0.5 * normal(16, 1)}
    forget, retain = ({"x": normal(32, 8), "y": normal(32, 1)} for _ in range(2))
    return params, forget, retain


def make_chain(axis_name=None):
    return optax.chain(
        project_conflicting(axis_name=axis_name),
        add_retain_gradient(0.3, axis_name=axis_name),
        optax.sgd(0.1),
        measure_conflict(axis_name=axis_name),
    )


def make_step(chain, loss=loss, varying=lambda params: params):
    def step(params, state, forget, retain):
        grads = forget_retain_grads(loss, varying(params), forget, retain, KEY)
        steps, state = chain.update(grads.forget, state, params, retain_grads=grads.retain)
        return optax.apply_updates(params, steps), state

    return step


def run(step, params, forget, retain, chain):
    state = chain.init(params)
    for _ in range(STEPS):
        params, state = step(params, state, forget, retain)
    return jax.tree.map(np.asarray, (params, state))


@pytest.fixture(scope="module")
def expected():
    chain = make_chain()
    return run(jax.jit(make_step(chain)), *make_problem(), chain)


def assert_same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.fixture(params=["auto", "explicit"])
def mesh(request):
    kind = AxisType.Auto if request.param == "auto" else AxisType.Explicit
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))


def test_steps_of_one_device_are_stated_by_numpy(expected):
    """The oracle of this file, checked: projection, added retain gradient, SGD, in float64."""
    params, forget, retain = make_problem()
    for _ in range(STEPS):
        f, r = (jax.grad(loss)(params, batch, KEY) for batch in (forget, retain))
        flat_f, flat_r = (
            np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(t)])
            for t in (f, r)
        )
        factor = -(flat_f @ flat_r) / (flat_r @ flat_r)
        params = jax.tree.map(
            lambda x, a, b, c=factor: x - 0.1 * (-a - c * b + 0.3 * b), params, f, r
        )
    assert_same(expected[0], params)


def test_jit_with_a_batch_sharded_over_devices(mesh, expected):
    params, forget, retain = make_problem()
    params = jax.device_put(params, NamedSharding(mesh, P()))
    forget, retain = jax.device_put((forget, retain), NamedSharding(mesh, P("data")))
    chain = make_chain()
    with jax.set_mesh(mesh):
        assert_same(run(jax.jit(make_step(chain)), params, forget, retain, chain), expected)


def shard(step, mesh, check_vma):
    return jax.jit(
        jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(P(), P(), P("data"), P("data")),
            out_specs=(P(), P()),
            check_vma=check_vma,
        )
    )


def as_varying(params):
    return jax.lax.pcast(params, "data", to="varying")


def averaged_loss(params, batch, key):
    return jax.lax.pmean(loss(params, batch, key), "data")


@pytest.mark.parametrize(
    ("check_vma", "axis_name", "loss", "varying"),
    [
        (False, "data", loss, lambda params: params),
        (True, "data", loss, as_varying),
        (True, None, averaged_loss, lambda params: params),
    ],
    ids=["check_vma=False", "varying parameters", "averaged loss"],
)
def test_shard_map_in_its_three_right_forms(expected, check_vma, axis_name, loss, varying):
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    chain = make_chain(axis_name)
    step = shard(make_step(chain, loss, varying), mesh, check_vma)
    assert_same(run(step, *make_problem(), chain), expected)


def test_shard_map_that_summed_the_gradients_already_is_refused():
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    chain = make_chain("data")
    step = shard(make_step(chain), mesh, check_vma=True)
    with pytest.raises(ValueError, match=r"updates do not vary over the axis .*pcast\(params"):
        run(step, *make_problem(), chain)


def test_shard_map_with_a_fixed_retain_gradient():
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    params, forget, retain = make_problem()
    r = jax.grad(loss)(params, retain, KEY)

    def update(params, forget):
        u = jax.grad(loss)(as_varying(params), forget, KEY)
        transform = project_conflicting(r, axis_name="data")
        return transform.update(u, transform.init(params))[0]

    found = jax.jit(jax.shard_map(update, mesh=mesh, in_specs=(P(), P("data")), out_specs=P()))(
        params, forget
    )
    assert_same(found, project(jax.grad(loss)(params, forget, KEY), r))


def test_each_device_may_project_on_its_own_without_an_axis_name():
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    u, r = (jax.random.normal(jax.random.key(i), (DEVICES, 10)) for i in (0, 1))
    u = u.at[0].mul(1e-20)
    alone = jax.jit(
        jax.shard_map(project, mesh=mesh, in_specs=(P("data"), P("data")), out_specs=P("data"))
    )
    for i, row in enumerate(alone(u, r)):
        size = float(jnp.max(jnp.abs(u[i])))
        np.testing.assert_allclose(row / size, project(u[i], r[i]) / size, atol=1e-5)


def test_pmap(expected):
    params, forget, retain = make_problem()
    chain = make_chain("data")

    def spread(batch):
        return jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)

    def repeat(tree):
        return jax.tree.map(lambda x: jnp.stack([x] * DEVICES), tree)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        step = jax.pmap(make_step(chain), axis_name="data")
        carry = repeat((params, chain.init(params)))
        for _ in range(STEPS):
            carry = step(*carry, spread(forget), spread(retain))
    for device in (0, DEVICES - 1):
        assert_same(jax.tree.map(lambda x, d=device: x[d], carry), expected)


def test_vmap_with_an_axis_name(expected):
    params, forget, retain = make_problem()
    chain = make_chain("data")
    step = jax.vmap(make_step(chain), in_axes=(None, None, 0, 0), axis_name="data")
    parts = jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), (forget, retain))

    @jax.jit
    def whole_step(params, state, *parts):
        return jax.tree.map(lambda x: x[0], step(params, state, *parts))

    assert_same(run(whole_step, params, *parts, chain), expected)


SPECS = {"w": P(None, "data"), "b": P("data"), "v": P("data", None)}


@pytest.mark.parametrize("scope", ["global", "leaf", {"w": 0, "b": 0, "v": 1}], ids=str)
def test_sharded_leaves_are_projected_where_they_lie(mesh, scope):
    shapes = {"w": (8, 16), "b": (16,), "v": (16, 1)}
    keys = iter(jax.random.split(KEY, 6))
    u, r = ({n: jax.random.normal(next(keys), s) for n, s in shapes.items()} for _ in range(2))
    shardings = {n: NamedSharding(mesh, spec) for n, spec in SPECS.items()}
    sharded_u, sharded_r = (jax.device_put(t, shardings) for t in (u, r))
    run = jax.jit(lambda u, r: project(u, r, scope=scope))
    with jax.set_mesh(mesh):
        for scale in (1.0, 1e-20):  # the second goes through the normalization
            small = jax.tree.map(lambda x, s=scale: s * x, sharded_u)
            found = run(small, sharded_r)
            assert_same(
                jax.tree.map(lambda x, s=scale: np.asarray(x) / s, found),
                project(u, r, scope=scope),
            )
            for name, leaf in found.items():
                assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim)


@pytest.mark.parametrize("k", [3, 16])
def test_a_sharded_span_is_projected_where_it_lies(mesh, k):
    shapes = {"w": (8, 16), "b": (16,), "v": (16, 1)}
    keys = iter(jax.random.split(KEY, 6))
    u = {n: jax.random.normal(next(keys), s) for n, s in shapes.items()}
    rs = {n: jax.random.normal(next(keys), (k, *s)) for n, s in shapes.items()}
    expected = project_subspace(u, rs)
    shardings = {n: NamedSharding(mesh, spec) for n, spec in SPECS.items()}
    stacked = {n: NamedSharding(mesh, P(None, *spec)) for n, spec in SPECS.items()}
    with jax.set_mesh(mesh):
        found = jax.jit(project_subspace)(jax.device_put(u, shardings), jax.device_put(rs, stacked))
    assert_same(found, expected)
    for name, leaf in found.items():
        assert leaf.sharding.is_equivalent_to(shardings[name], leaf.ndim)


def test_the_types_of_updates_and_state_keep_their_sharding_on_an_explicit_mesh():
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Explicit,))
    params = {n: jnp.ones(s) for n, s in {"w": (8, 16), "b": (16,), "v": (16, 1)}.items()}
    params = jax.device_put(params, {n: NamedSharding(mesh, spec) for n, spec in SPECS.items()})
    chain = optax.chain(
        project_conflicting(), add_retain_gradient(1.0), optax.trace(0.9), measure_conflict()
    )
    with jax.set_mesh(mesh):
        state = jax.jit(chain.init)(params)
        steps, new_state = jax.jit(chain.update)(params, state, params, retain_grads=params)
        for before, after in ((params, steps), (state, new_state)):
            assert jax.tree.map(jax.typeof, before) == jax.tree.map(jax.typeof, after)
