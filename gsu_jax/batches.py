"""Which images each step of an epoch sees, and where they lie."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def placement(mesh: jax.sharding.Mesh | None, *batch_sizes: int) -> Callable[..., Any]:
    """`place(tree)` puts a tree on all devices; `batched=True` splits axis 1 of its arrays."""
    if mesh is None:
        return lambda tree, batched=False: jax.tree.map(jnp.asarray, tree)
    axis = mesh.axis_names[0]
    for size in batch_sizes:
        if size % mesh.shape[axis]:
            raise ValueError(
                f"a batch of {size} images does not divide over mesh axis {axis!r} of "
                f"{mesh.shape[axis]} devices; choose batch sizes that are multiples of it."
            )
    # Auto axes: the compiler places the reductions, whatever the caller's mesh says of its own.
    mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)

    def place(tree: Any, batched: bool = False) -> Any:
        def put(x: jax.Array) -> jax.Array:
            split = jax.P(None, axis) if batched and jnp.ndim(x) == 2 else jax.P()
            return jax.device_put(x, jax.NamedSharding(mesh, split))

        return jax.tree.map(put, tree)

    return place


@partial(jax.jit, static_argnums=range(2, 7))
def epoch_order(
    key: jax.Array,
    epoch: int,
    visited: int,
    batch_size: int,
    retained: int,
    retain_batch_size: int,
    steps: int,
) -> tuple[jax.Array, ...]:
    """For each step: its number, the images it visits with their mask, and the retained ones."""
    visit_key, retain_key = jax.random.split(key)
    number = epoch * steps + jnp.arange(steps)
    order = jnp.arange(steps * batch_size)
    mask = (order < visited).astype(jnp.float32)
    indices = jax.random.permutation(visit_key, visited)[order % visited]
    passes = -(-steps * retain_batch_size // retained)
    again = jax.vmap(lambda key: jax.random.permutation(key, retained))
    retain = again(jax.random.split(retain_key, passes)).reshape(-1)[: steps * retain_batch_size]
    return (
        number,
        indices.reshape(steps, batch_size),
        mask.reshape(steps, batch_size),
        retain.reshape(steps, retain_batch_size),
    )
