"""Which images each step of an epoch sees, and where they lie."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class EpochSizes(NamedTuple):
    """How many images there are to visit and to retain, how many a step sees, and the steps."""

    visited: int
    batch: int
    retained: int
    retain_batch: int
    steps: int


def fit_batch(batch_size: int, images: int, mesh: jax.sharding.Mesh | None) -> int:
    """`batch_size`, or less where there are fewer images; on a mesh a multiple of its devices."""
    devices = _devices(mesh)
    if batch_size % devices:
        raise ValueError(
            f"a batch of {batch_size} images does not divide over mesh axis "
            f"{mesh.axis_names[0]!r} of {devices} devices; choose batch sizes that are multiples "
            "of it."
        )
    return min(batch_size, round_up(images, mesh))


def round_up(images: int, mesh: jax.sharding.Mesh | None) -> int:
    """The next multiple of the devices that a batch is shared over."""
    devices = _devices(mesh)
    return -(-images // devices) * devices


def _devices(mesh: jax.sharding.Mesh | None) -> int:
    return 1 if mesh is None else mesh.shape[mesh.axis_names[0]]


def placement(mesh: jax.sharding.Mesh | None) -> Callable[..., Any]:
    """`place(tree)` puts a tree on all devices; `batched=True` splits axis 1 of its arrays."""
    if mesh is None:
        return lambda tree, batched=False: jax.tree.map(jnp.asarray, tree)
    # Auto axes: the compiler places the reductions, whatever the caller's mesh says of its own.
    axis, mesh = mesh.axis_names[0], jax.sharding.Mesh(mesh.devices, mesh.axis_names)

    def place(tree: Any, batched: bool = False) -> Any:
        def put(x: jax.Array) -> jax.Array:
            split = jax.P(None, axis) if batched and jnp.ndim(x) == 2 else jax.P()
            return jax.device_put(x, jax.NamedSharding(mesh, split))

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
