"""One step of a method on its own: a batch to look at, and what the step adds to parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from gsu_jax.methods import Batch, Method
from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.models import GenerativeModel

KEY = jax.random.key(0)


def batch_of(forget, retain, mask=None, number: int = 0, progress: float = 0.0) -> Batch:
    """A batch of all given images, with a full mask by default."""
    mask = np.ones(len(forget)) if mask is None else mask
    visited = MaskedBatch(jnp.asarray(forget), jnp.asarray(mask, jnp.float32))
    return Batch(visited, jnp.arange(len(forget)), jnp.asarray(retain), number, progress)


def first_step(
    method: Method, model: GenerativeModel, params: Any, batch: Batch, optimizer=None
) -> Any:
    """What the first step adds to the parameters, by SGD at a rate of 0.1 if not told otherwise."""
    grads = method.gradients(model, None, params, batch, KEY)
    chain = method.transform(optimizer or optax.sgd(0.1), params, 1)
    state = chain.init(params)
    return chain.update(grads.updates, state, params, retain_grads=grads.retain_grads)[0]


def two_steps(method: Method, model: GenerativeModel, params, sets, key, mesh=None, size=8):
    """The parameters and the history after two steps, on the same batches, with the own optimizer.

    The set sizes are traced: one program serves them all. With a mesh each device has its part of
    every batch.
    """
    start_key, prepare_key, step_key = jax.random.split(key, 3)
    params = method.start(model, params, sets.forget, sets.retain, start_key)
    prepared = method.prepare(model, params, sets.forget, sets.retain, prepare_key)
    if method.visits == "nothing":
        return params, {}
    transform = method.transform(method.optimizer(2), params, 2)
    visited = sets.retain if method.visits == "retain" else sets.forget
    places = jnp.arange(size)
    mask, places = (places < visited.count).astype(jnp.float32), places % visited.count
    batches = visited.take(places), sets.retain.take(jnp.arange(size))
    if mesh is not None:
        parts = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
        batches = jax.lax.with_sharding_constraint(batches, parts)

    def step(carry, number):
        params, state = carry
        batch = Batch(MaskedBatch(batches[0], mask), places, batches[1], number, number / 2)
        grads = method.gradients(
            model, prepared, params, batch, jax.random.fold_in(step_key, number)
        )
        updates, state = transform.update(
            grads.updates, state, params, retain_grads=grads.retain_grads, **grads.extra or {}
        )
        metrics = grads.metrics | method.measured(state)
        return (optax.apply_updates(params, updates), state), metrics

    (params, _), history = jax.lax.scan(step, (params, transform.init(params)), jnp.arange(2))
    return params, history
