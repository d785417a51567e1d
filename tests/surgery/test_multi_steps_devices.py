"""On eight simulated devices, `multi_steps` gives the step of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gsu_jax import multi_steps
from gsu_jax.surgery import project, project_conflicting

DEVICES, CALLS = 8, 2
RNG = np.random.default_rng(0)
FORGET, RETAIN = (jnp.float32(RNG.standard_normal((16, 8, 3))) for _ in range(2))
PARAMS = {"w": jnp.zeros((8, 3))}


def gradient(batch):
    return {"w": batch.mean(0)}


def expected():
    return jax.tree.map(jnp.negative, project(gradient(FORGET), gradient(RETAIN)))


def make(axis_name=None, **options):
    tx = optax.chain(project_conflicting(axis_name=axis_name), optax.sgd(1.0))
    return multi_steps(tx, CALLS, **options)


def mesh_of(kind):
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("retain_gradients", [None, 2])
def test_sums_are_sharded_as_the_parameters(kind, retain_gradients):
    optimizer, mesh = make(retain_gradients=retain_gradients), mesh_of(kind)
    r = gradient(RETAIN)
    if retain_gradients:  # a second gradient that is zero changes nothing
        r = jax.tree.map(lambda x: jnp.stack([x, 0 * x]), r)
    lead = (None,) if retain_gradients else ()
    with jax.set_mesh(mesh):
        rows, rows_of_set = (NamedSharding(mesh, P(*axes, "data")) for axes in ((), lead))
        params, u = jax.device_put((PARAMS, gradient(FORGET)), rows)
        r = jax.device_put(r, rows_of_set)
        update, state = jax.jit(optimizer.update), jax.jit(optimizer.init)(params)
        for _ in range(CALLS):
            steps, state = update(u, state, params, retain_grads=r)
    assert_trees_close(steps, expected(), atol=1e-5)
    assert steps["w"].sharding.spec[0] == "data"
    assert state.updates["w"].sharding.spec[0] == "data"
    assert state.retain_grads["w"].sharding.spec[len(lead)] == "data"


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_with_gradients_that_are_averaged_before(check_vma):
    optimizer = make()

    def call(state, forget, retain):
        u, r = jax.lax.pmean((gradient(forget), gradient(retain)), "data")
        return optimizer.update(u, state, PARAMS, retain_grads=r)

    specs = {"in_specs": (P(), P("data"), P("data")), "out_specs": P()}
    mesh = mesh_of(AxisType.Auto)
    call = jax.jit(jax.shard_map(call, mesh=mesh, check_vma=check_vma, **specs))
    state = optimizer.init(PARAMS)
    for _ in range(CALLS):
        steps, state = call(state, FORGET, RETAIN)
    assert_trees_close(steps, expected(), atol=1e-5)


def test_shard_map_with_a_state_per_device():
    optimizer = make(axis_name="data")

    def call(state, forget, retain):
        state = jax.tree.map(lambda x: x[0], state)
        steps, state = optimizer.update(
            gradient(forget), state, PARAMS, retain_grads=gradient(retain)
        )
        return steps, jax.tree.map(lambda x: x[None], state)

    specs = {"in_specs": (P("data"), P("data"), P("data")), "out_specs": (P(), P("data"))}
    mesh = mesh_of(AxisType.Auto)
    call = jax.jit(jax.shard_map(call, mesh=mesh, check_vma=False, **specs))
    state = jax.tree.map(lambda x: jnp.stack([x] * DEVICES), optimizer.init(PARAMS))
    for _ in range(CALLS):
        steps, state = call(state, FORGET, RETAIN)
    assert_trees_close(steps, expected(), atol=1e-5)
