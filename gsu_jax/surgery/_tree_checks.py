r"""Gradient surgery: takes out of one gradient what lies along another, as pure functions on trees.

With both trees ravelled into single vectors u and r (`jax.flatten_util.ravel_pytree`), the
projection is

    project(u, r) = u - (<u, r> / <r, r>) r

(Bae et al. 2023, section 3.2). That is the definition. What runs are the same inner products, leaf
by leaf: nothing is copied into one long vector, and sharded leaves stay where they are.

Gradients are in the descent convention: they are what an optimiser subtracts. Forgetting ascends
its loss, so the update to project is minus the gradient of the loss on the forget set.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

Tree = Any
When = Literal["always", "conflict"]
Incoming = Literal["gradients", "steps"]


def check_trees(updates: Tree, retain_grads: Tree) -> None:
    check_same_shapes(updates, retain_grads)
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")


def leaf_paths(tree: Tree) -> list[str]:
    """Returns the path of every leaf, such as `"decoder/kernel"`, in the order of the leaves."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(path, simple=True, separator="/") or "(root)" for path in paths]


def check_floating(tree: Tree, name: str) -> None:
    """Raises TypeError, naming the leaf, unless every leaf of `tree` is real floating point."""
    for path, leaf in zip(leaf_paths(tree), jax.tree.leaves(tree), strict=True):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{name} has a leaf {path} of dtype {dtype}; gradients exist for floating-point "
                "leaves only: keep such leaves in a tree of their own, outside the parameters"
            )


def check_same_structure(updates: Tree, retain_grads: Tree) -> None:
    """Raises ValueError, naming the first leaf at fault, unless both trees have the same leaves."""
    expected, found = jax.tree.structure(updates), jax.tree.structure(retain_grads)
    if expected == found:
        return
    expected_paths, found_paths = leaf_paths(updates), leaf_paths(retain_grads)
    for path in expected_paths:
        if path not in found_paths:
            raise ValueError(
                f"retain_grads has no leaf {path}; was it computed with the same loss and the "
                "same parameters?"
            )
    for path in found_paths:
        if path not in expected_paths:
            raise ValueError(
                f"retain_grads has a leaf {path} that the updates have not; was it computed with "
                "the same loss and the same parameters?"
            )
    raise ValueError(
        f"retain_grads has the leaves of the updates in other containers: expected {expected}, "
        f"got {found}"
    )


def check_same_shapes(updates: Tree, retain_grads: Tree) -> None:
    """Raises ValueError, naming leaf and shapes, unless all leaves agree in shape."""
    check_same_structure(updates, retain_grads)
    for path, u, r in _shapes(updates, retain_grads):
        if u != r:
            hint = (
                "a set of retain gradients, with a leading axis, goes through project_subspace"
                if r[1:] == u and r
                else "was it computed with the same parameters?"
            )
            raise ValueError(
                f"leaf {path} has shape {u} in the updates and {r} in retain_grads; {hint}"
            )


def check_stacked_shapes(updates: Tree, retain_grads: Tree) -> int:
    """Returns k where every leaf of `retain_grads` has a leading axis of k, else ValueError."""
    check_same_structure(updates, retain_grads)
    k = None
    for path, u, r in _shapes(updates, retain_grads):
        k = r[0] if k is None and r else k
        if not k or r != (k, *u):
            raise ValueError(
                f"leaf {path} has shape {u} in the updates and {r} in retain_grads; a set of k "
                f"retain gradients has shape (k, *{u}), with one k >= 1 for all leaves"
            )
    return k or 0


def is_stacked(updates: Tree, retain_grads: Tree) -> bool:
    """Whether the leaves of `retain_grads` have one axis more than those of `updates`."""
    check_same_structure(updates, retain_grads)
    shapes = _shapes(updates, retain_grads)
    return bool(shapes) and all(len(r) == len(u) + 1 for _, u, r in shapes)


def _shapes(updates: Tree, retain_grads: Tree) -> list[tuple[str, tuple, tuple]]:
    leaves = zip(jax.tree.leaves(updates), jax.tree.leaves(retain_grads), strict=True)
    paths = leaf_paths(updates)
    return [(p, jnp.shape(u), jnp.shape(r)) for p, (u, r) in zip(paths, leaves, strict=True)]
