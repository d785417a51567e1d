r"""Gradient surgery: takes out of one gradient what lies along another, as pure functions on trees.

With both trees ravelled into single vectors u and r (`jax.flatten_util.ravel_pytree`), the
projection is

    project(u, r) = u - (<u, r> / <r, r>) r

(Bae et al. 2023, section 3.2). That is the definition. What runs are the same inner products, leaf
by leaf: nothing is copied into one long vector, and sharded leaves stay where they are.

Gradients are in the descent convention: they are what an optimiser subtracts. Forgetting ascends
its loss, so the update to project is minus the gradient of the loss on the forget set.
"""

from collections.abc import Hashable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from gsu_jax.checks import choice
from gsu_jax.surgery._conflict import (
    Conflict,
    conflict_of_products,
    conflict_with_mean,
    mean_of_set,
    measure,
)
from gsu_jax.surgery._gramian import Rows, along, combine
from gsu_jax.surgery._inner_products import accumulator, inner_products
from gsu_jax.surgery._span import normal_equations, orthonormal_basis
from gsu_jax.surgery._tree_checks import (
    Incoming,
    Tree,
    When,
    check_floating,
    check_stacked_shapes,
    check_trees,
)


def project(
    updates: Tree, retain_grads: Tree, *, when: When = "always", scope: str | Tree = "global"
) -> Tree:
    """Removes from `updates` its component along `retain_grads`.

    With u and r the two trees as single vectors: u - (<u, r> / <r, r>) r, so that a first-order
    step along the result leaves the retained loss as it is (Bae et al. 2023, Theorem 2.2).

    Inner products are taken in float32 at least (float64 where a leaf is float64), after a
    normalisation wherever squares could leave that range; relative to |u| |r|, what is left along r
    is of the order of float32's rounding. Leaves that are bfloat16 or float16 are rounded once
    more, at the end, to their own dtype.

    Args:
        updates: a tree of floating-point arrays, in the descent convention (dtypes may be mixed).
        retain_grads: the gradient of the retained loss: same structure and shapes.
        when: "always" (the paper), or "conflict": only where <u, r> < 0 (PCGrad, Yu et al. 2020).
        scope: over what the inner products run. "global": the whole tree is one vector; "leaf":
            each leaf by itself; or a tree of labels, of the structure of `updates` or a prefix of
            it: leaves with equal labels make one vector, as `{"encoder": 0, "decoder": 1}` does for
            modules.

    Returns:
        The projected tree: structure, shapes and dtypes of `updates`. Where r is zero, or where u
        or r is not finite, `updates` comes back as it is.

    Raises:
        ValueError: structures or shapes differ (names the leaf), unknown `when` or `scope`.
        TypeError: a leaf is not floating point (names the leaf).
    """
    return project_and_measure(updates, retain_grads, when=when, scope=scope)[0]


def project_subspace(updates: Tree, retain_grads: Tree) -> Tree:
    """Removes from `updates` its component in the span of k retain gradients.

    With r_1 ... r_k the retain gradients as single vectors and the rows of Q an orthonormal basis
    of their span: u - Q^T Q u (Bae et al. 2023, "a set of retain samples"). Where the k x k Gramian
    is well conditioned its normal equations are solved, twice; else Q comes from it, in two rounds.
    Dependent, equal and zero gradients add no direction; two that differ by less than about 1e-6 of
    their length (float32) count as equal.

    Args:
        updates: a tree of floating-point arrays, in the descent convention.
        retain_grads: the same structure; every leaf with a leading axis of length k. A working
            copy of it is made.

    Returns:
        The projected tree, as `project` does; `updates` as it is if any entry is not finite.

    Raises:
        ValueError: structures or shapes differ (names the leaf).
        TypeError: a leaf is not floating point (names the leaf).
    """
    return project_subspace_and_measure(updates, retain_grads)[0]


def project_and_measure(
    updates: Tree,
    retain_grads: Tree,
    *,
    when: When = "always",
    scope: str | Tree = "global",
    incoming: Incoming = "gradients",
) -> tuple[Tree, Conflict]:
    """Returns `project(...)` and the `Conflict` before it, from the same inner products.

    Args:
        updates: see `project`.
        retain_grads: see `project`.
        when: see `project`.
        scope: see `project`.
        incoming: "gradients", or "steps" where `updates` are what an optimiser returned: those
            point the other way, and "conflict" then means <u, r> > 0.
    """
    check_trees(updates, retain_grads)
    choice(("always", "conflict"), when=when)
    choice(("gradients", "steps"), incoming=incoming)
    us, structure = jax.tree.flatten(updates)
    groups = _groups(updates, scope)
    products = inner_products(us, jax.tree.leaves(retain_grads), groups)
    dtype = products.dot.dtype

    project_group = products.finite & (products.retain_square > 0)
    if when == "conflict":
        against = products.dot if incoming == "gradients" else -products.dot
        project_group &= against < 0
    # The inner `where` keeps 0/0 out of the derivative too.
    coefficient = products.dot / jnp.where(project_group, products.retain_square, 1)
    coefficient /= products.update_scale

    def without_retain(u, r, group):
        u, own_dtype = jnp.asarray(u, dtype), jnp.result_type(u)
        component = coefficient[group] * (jnp.asarray(r, dtype) * products.retain_scale[group])
        # A `where`, since 0 * inf is not 0.
        return jnp.where(project_group[group], u - component, u).astype(own_dtype)

    leaves = map(without_retain, us, jax.tree.leaves(retain_grads), groups)
    return structure.unflatten(leaves), conflict_of_products(products, project_group)


def project_subspace_and_measure(updates: Tree, retain_grads: Tree) -> tuple[Tree, Conflict]:
    """Returns `project_subspace(...)` and the `Conflict` of `updates` with the mean of the set."""
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    if not check_stacked_shapes(updates, retain_grads):
        return updates, measure(updates, retain_grads)
    us, structure = jax.tree.flatten(updates)
    rs = jax.tree.leaves(retain_grads)
    dtype = accumulator([*us, *rs])
    remainder, conflict = _without_span(
        [jnp.asarray(u, dtype) for u in us], [jnp.asarray(r, dtype) for r in rs]
    )
    leaves = [p.astype(jnp.result_type(u)) for p, u in zip(remainder, us, strict=True)]
    return structure.unflatten(leaves), conflict


# Compiled on its own, since without it each call outside a `jit` would compile the branches anew.
@partial(jax.jit, inline=True)
def _without_span(us: Rows, rs: Rows) -> tuple[list[jax.Array], Conflict]:
    """The vector without its component in the span of the rows, and its conflict with their mean.

    From the Gramian itself where the rows are far from dependent, which reads them five times; else
    from an orthonormal basis, which is made of them first.
    """
    normal = normal_equations(rs, us)

    def remove(basis, components):
        return [u - c for u, c in zip(us, combine(components, basis), strict=True)]

    def by_gramian(us, rs):
        components = normal.solve(normal.along)
        # The second time takes out what the rounding of the first left.
        components += normal.solve(along(rs, remove(rs, components)))
        return remove(rs, components), conflict_with_mean(normal)

    def by_basis(us, rs):
        basis, rank = orthonormal_basis(rs)
        components = along(basis, us)
        components += along(basis, remove(basis, components))
        conflict = measure(us, mean_of_set(rs))
        projected = (rank > 0) & jnp.isfinite(conflict.update_norm)
        remainder = [
            jnp.where(projected, p, u) for p, u in zip(remove(basis, components), us, strict=True)
        ]
        return remainder, conflict._replace(projected=projected)

    return lax.cond(normal.usable, by_gramian, by_basis, us, rs)


def _groups(updates: Tree, scope: str | Tree) -> tuple[int, ...]:
    """The index of the group of each leaf."""
    leaves, structure = jax.tree.flatten(updates)
    if isinstance(scope, str):
        choice(("global", "leaf"), "a tree of labels", scope=scope)
        return tuple(range(len(leaves))) if scope == "leaf" else (0,) * len(leaves)
    try:
        labels: list[Hashable] = structure.flatten_up_to(jax.tree.broadcast(scope, updates))
    except ValueError as error:
        raise ValueError(
            f"scope is not a tree of labels for the updates ({error}); give one label per leaf, "
            f"or per branch, of {structure}"
        ) from None
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return tuple(numbers[label] for label in labels)
