"""Leaves of two trees in one wide dtype, and back."""

import jax
import jax.numpy as jnp

from gsu_jax.surgery._inner_products import accumulator
from gsu_jax.surgery._tree_checks import Tree, check_floating, check_same_shapes

Leaves = list[jax.Array]


def widened(updates: Tree, retain_grads: Tree) -> tuple[Leaves, Leaves]:
    """The leaves of both, checked, in the dtype that sums are taken in."""
    check_same_shapes(updates, retain_grads)
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    us, rs = jax.tree.leaves(updates), jax.tree.leaves(retain_grads)
    dtype = accumulator([*us, *rs])
    return [jnp.asarray(u, dtype) for u in us], [jnp.asarray(r, dtype) for r in rs]


def like_updates(updates: Tree, leaves: Leaves) -> Tree:
    own, structure = jax.tree.flatten(updates)
    return structure.unflatten(
        [leaf.astype(jnp.result_type(u)) for leaf, u in zip(leaves, own, strict=True)]
    )
