"""Which images each step of an epoch sees, and where they lie."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.processes import put as put_on


class EpochSizes(NamedTuple):
    """How many images there are to visit and to retain, how many a step sees, and the steps."""

    visited: int
    batch: int
    retained: int
    retain_batch: int
    steps: int


def fit_batch(batch_size: int, images: int, mesh: jax.sharding.Mesh | None) -> int:
    """`batch_size`, or less where there are fewer images: on a mesh a multiple of its devices."""
    devices = _devices(mesh)
    return min(batch_size, -(-images // devices) * devices)


def check_batch(batch_size: int, mesh: jax.sharding.Mesh | None, where: str = "") -> None:
    """Raises ValueError where such a batch, met in `where`, does not divide over the devices."""
    if batch_size % (devices := _devices(mesh)):
        prefix = f"{where}: " if where else ""
        raise ValueError(
            f"{prefix}a batch of {batch_size} images does not divide over mesh axis "
            f"{mesh.axis_names[0]!r} of {devices} devices; choose batch sizes that are multiples "
            "of it, or another number of devices."
        )


def _devices(mesh: jax.sharding.Mesh | None) -> int:
    return 1 if mesh is None else mesh.shape[mesh.axis_names[0]]


def placement(mesh: jax.sharding.Mesh | None) -> Callable[..., Any]:
    """`place(tree)` puts a tree on all devices; `batched=True` splits the last axis of its arrays.

    Whole on every device stays an array with a single axis, which has no batch, and a batch that
    does not divide.
    """
    if mesh is None:
        return lambda tree, batched=False: jax.tree.map(jnp.asarray, tree)
    # Auto axes: the compiler places the reductions, whatever the caller's mesh says of its own.
    axis, mesh = mesh.axis_names[0], jax.sharding.Mesh(mesh.devices, mesh.axis_names)

    def place(tree: Any, batched: bool = False) -> Any:
        def put(x: jax.Array) -> jax.Array:
            split = batched and jnp.ndim(x) > 1 and x.shape[-1] % mesh.shape[axis] == 0
            spec = jax.P(*[None] * (jnp.ndim(x) - 1), axis) if split else jax.P()
            return put_on(x, jax.NamedSharding(mesh, spec))

        return jax.tree.map(put, tree)

    return place


def epoch_order(key: jax.Array, epoch: jax.Array, sizes: EpochSizes) -> tuple[jax.Array, ...]:
    """For each step: its number, the images it visits with their mask, and the retained ones.

    Every image is visited once; the last batch is filled up with images already seen, masked 0.
    Retained images come from one random order after another: none twice before all were drawn.
    """
    visited, batch, retained, retain_batch, steps = sizes
    visit_key, retain_key = jax.random.split(jax.random.fold_in(key, epoch))
    number = epoch * steps + jnp.arange(steps)
    place = jnp.arange(steps * batch)
    indices = jax.random.permutation(visit_key, visited)[place % visited]
    passes = -(-steps * retain_batch // retained)
    again = jax.vmap(lambda key: jax.random.permutation(key, retained))
    retain = again(jax.random.split(retain_key, passes)).reshape(-1)[: steps * retain_batch]
    return (
        number,
        indices.reshape(steps, batch),
        (place < visited).astype(jnp.float32).reshape(steps, batch),
        retain.reshape(steps, retain_batch),
    )
