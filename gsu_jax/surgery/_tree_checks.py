"""Checks of the trees that surgery takes; each error names the leaf."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from gsu_jax.surgery._module_recipes import module_recipe

Tree = Any
When = Literal["always", "conflict"]
Incoming = Literal["gradients", "steps"]


def check_gradients(updates: Tree, retain_grads: Tree) -> bool:
    """Checks both trees and returns whether `retain_grads` is a stacked set of gradients.

    In a stacked set, every leaf has one axis more than its update: k gradients along axis 0.

    Raises:
        ValueError: Structures or shapes differ.
        TypeError: A leaf is not floating point.
    """
    _check_same_structure(updates, retain_grads)
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    shapes = _shapes(updates, retain_grads)
    if shapes and all(len(r) == len(u) + 1 for _, u, r in shapes):
        check_stacked(updates, retain_grads)
        return True
    for path, u, r in shapes:
        if u != r:
            raise ValueError(
                f"leaf {path} has shape {u} in the updates and {r} in retain_grads; was it "
                "computed with the same parameters? A set of k retain gradients needs a leading "
                "axis of length k on every leaf"
            )
    return False


def check_stacked(updates: Tree, retain_grads: Tree) -> None:
    """Raises ValueError unless all leaves of `retain_grads` have one more, leading axis."""
    _check_same_structure(updates, retain_grads)
    k = None
    for path, u, r in _shapes(updates, retain_grads):
        k = r[0] if k is None and r else k
        if not k or r != (k, *u):
            raise ValueError(
                f"leaf {path} has shape {u} in the updates and {r} in retain_grads; a set of k "
                f"retain gradients has shape (k, *{u}), with one k >= 1 for all leaves"
            )


def check_floating(tree: Tree, name: str) -> None:
    """Raises TypeError unless every leaf of `tree` is real and floating point.

    Args:
        tree: Any tree of arrays.
        name: What the error calls the tree.

    Example:
        >>> import jax.numpy as jnp
        >>> check_floating({"step": jnp.arange(3)}, "params")
        Traceback (most recent call last):
        TypeError: params has a leaf step of dtype int32; only floating-point leaves have \
gradients: keep other leaves outside the parameters
    """
    for path, leaf in zip(leaf_paths(tree), jax.tree.leaves(tree), strict=True):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None and isinstance(leaf, int | float | complex):
            dtype = jnp.result_type(leaf)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            kind = f"type {type(leaf).__name__}" if dtype is None else f"dtype {dtype}"
            raise TypeError(
                f"{name} has a leaf {path} of {kind}; only floating-point leaves have gradients: "
                f"keep other leaves outside the parameters{module_recipe(tree)}"
            )


def leaf_paths(tree: Tree) -> list[str]:
    """Returns the path of every leaf, such as `"decoder/kernel"`, in the order of the leaves."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(path, simple=True, separator="/") or "(root)" for path in paths]


def _check_same_structure(updates: Tree, retain_grads: Tree) -> None:
    expected, got = jax.tree.structure(updates), jax.tree.structure(retain_grads)
    if expected == got:
        return
    if _is_list_of(expected, retain_grads):
        raise ValueError(
            f"retain_grads is a {type(retain_grads).__name__} of {len(retain_grads)} gradients; "
            "stack them, a leading axis of k on every leaf: "
            "retain_grads = jax.tree.map(lambda *leaves: jnp.stack(leaves), *retain_grads)"
        )
    recipe = module_recipe(retain_grads)
    if recipe and type(retain_grads) is not type(updates):
        raise ValueError(
            f"retain_grads is a {type(retain_grads).__name__}, the updates are a "
            f"{type(updates).__name__}: give two trees of one structure{recipe}"
        )
    expected_paths, got_paths = leaf_paths(updates), leaf_paths(retain_grads)
    fix = "was it computed with the same loss and the same parameters?"
    for path in expected_paths:
        if path not in got_paths:
            raise ValueError(f"retain_grads has no leaf {path}; {fix}")
    for path in got_paths:
        if path not in expected_paths:
            raise ValueError(f"retain_grads has a leaf {path} that the updates lack; {fix}{recipe}")
    raise ValueError(
        "retain_grads has the leaves of the updates in other containers: expected "
        f"{expected}, got {got}"
    )


def _is_list_of(structure: Any, tree: Tree) -> bool:
    """Whether `tree` is a list or tuple of trees of that structure."""
    items = tree if isinstance(tree, list | tuple) else ()
    return bool(items) and all(jax.tree.structure(item) == structure for item in items)


def _shapes(updates: Tree, retain_grads: Tree) -> list[tuple[str, tuple, tuple]]:
    leaves = zip(jax.tree.leaves(updates), jax.tree.leaves(retain_grads), strict=True)
    paths = leaf_paths(updates)
    return [(p, jnp.shape(u), jnp.shape(r)) for p, (u, r) in zip(paths, leaves, strict=True)]
