"""Trees, vectors and property asserts that the tests of several packages share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any

# Two modules with leaves of rank 0 to 3.
SHAPES = {
    "decoder": {"kernel": (2, 3, 2)},
    "encoder": {"bias": (5,), "kernel": (4, 3), "scale": ()},
}


def vector(tree: Tree) -> np.ndarray:
    """The leaves of a tree as one float64 vector, in the order of `jax.tree.leaves`."""
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate([np.zeros(0), *leaves])


def rows(tree: Tree) -> np.ndarray:
    """The k stacked gradients of a tree as a float64 matrix [k, n]."""
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.asarray(x, np.float64).reshape(len(x), -1) for x in leaves], axis=1)


def random_tree(
    seed: int,
    scale: float = 1.0,
    dtype: Any = jnp.float32,
    *,
    k: int | None = None,
    shapes: Tree = SHAPES,
) -> Tree:
    """A tree of normal numbers times `scale`; with `k`, k of them along a leading axis.

    `shapes` is a tree whose leaves are tuples.
    """
    rng, lead = np.random.default_rng(seed), () if k is None else (k,)

    def leaf(shape: tuple[int, ...]) -> jax.Array:
        return jnp.asarray(scale * rng.standard_normal((*lead, *shape)), dtype)

    return jax.tree.map(leaf, shapes, is_leaf=lambda node: isinstance(node, tuple))


def cosine(a: Tree, b: Tree) -> float:
    """The cosine of the angle between two trees, in float64."""
    a, b = vector(a), vector(b)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def assert_trees_close(
    actual: Tree, expected: Tree, rtol: float = 1e-6, atol: float = 1e-6
) -> None:
    """Asserts equal structures, and values within `atol + rtol * |expected|`."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def assert_trees_equal(actual: Tree, expected: Tree) -> None:
    """Asserts equal structures and equal values."""
    assert_trees_close(actual, expected, rtol=0, atol=0)


def assert_same_structure(actual: Tree, expected: Tree) -> None:
    """Asserts that both trees have the same structure, shapes and dtypes."""

    def kinds(tree: Tree) -> Tree:
        return jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)

    assert kinds(actual) == kinds(expected)


def assert_finite(tree: Tree) -> None:
    """Asserts that a tree holds neither NaN nor infinity."""
    assert np.isfinite(vector(tree)).all()


def assert_orthogonal(
    projected: Tree, updates: Tree, retain_grads: Tree, tolerance: float = 1e-6
) -> None:
    """Asserts |<p, r>| <= tolerance |u| |r|, where p is what a projection made of u."""
    p, u, r = vector(projected), vector(updates), vector(retain_grads)
    assert abs(p @ r) <= tolerance * np.linalg.norm(u) * np.linalg.norm(r)


def assert_scale_equivariant(
    function: Callable[[Tree, Tree], Tree],
    updates: Tree,
    retain_grads: Tree,
    factor: float = 1e3,
    tolerance: float = 1e-5,
) -> None:
    """Asserts f(factor u, factor r) = factor f(u, r), relative to the largest entry."""

    def scaled(tree: Tree) -> Tree:
        return jax.tree.map(lambda x: (factor * x).astype(x.dtype), tree)

    expected = vector(function(updates, retain_grads))
    actual = vector(function(scaled(updates), scaled(retain_grads))) / factor
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_permutation_invariant(
    function: Callable[[Tree, Tree], Tree],
    updates: Tree,
    retain_grads: Tree,
    tolerance: float = 1e-5,
) -> None:
    """Asserts that the order of the k stacked retain gradients makes no difference."""
    reversed_grads = jax.tree.map(lambda x: x[::-1], retain_grads)
    expected = vector(function(updates, retain_grads))
    actual = vector(function(updates, reversed_grads))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
