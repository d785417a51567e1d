"""The leaves of several trees in one wide dtype, and back."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gsu_jax.surgery._tree_checks import Tree

Leaves = Sequence[jax.Array]


def accumulator(leaves: Leaves) -> jnp.dtype:
    """Returns the dtype of sums over the leaves: float64 if a leaf is float64, else float32."""
    wide = any(jnp.result_type(leaf) == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def widened(*trees: Tree) -> list[list[jax.Array]]:
    """Returns the leaves of each tree, all in the accumulator dtype of all trees together."""
    leaves = [jax.tree.leaves(tree) for tree in trees]
    dtype = accumulator([leaf for tree in leaves for leaf in tree])
    return [[jnp.asarray(leaf, dtype) for leaf in tree] for tree in leaves]


def like_updates(updates: Tree, leaves: Leaves) -> Tree:
    """Returns `leaves` as a tree with the structure and dtypes of `updates`."""
    own, structure = jax.tree.flatten(updates)
    return structure.unflatten(
        [leaf.astype(jnp.result_type(u)) for leaf, u in zip(leaves, own, strict=True)]
    )
