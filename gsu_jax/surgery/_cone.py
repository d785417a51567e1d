"""The nearest vector to an update that raises none of k retained losses, to first order."""

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import choice
from gsu_jax.surgery._conflict import Conflict, mean_of_set, measure
from gsu_jax.surgery._gramian import Rows, along, inner
from gsu_jax.surgery._inner_products import accumulator, scale_by_power_of_two
from gsu_jax.surgery._projection import project_subspace_and_measure
from gsu_jax.surgery._span import orthonormal_basis
from gsu_jax.surgery._tree_checks import Incoming, Tree, When, check_floating, check_stacked_shapes

# In float32, of 300 random sets each: the active set is right for up to 16 gradients of pairwise
# cosine 0.99, and for up to 8 of cosine 0.999 (300 iterations: up to 8 of cosine 0.99).
ITERATIONS = 1000


def project_cone(updates: Tree, retain_grads: Tree) -> Tree:
    """Projects `updates` onto the cone of directions that agree with k retain gradients.

    With u the updates and r_1 ... r_k the retain gradients as single vectors:

        argmin_d |d - u|^2  such that  <d, r_i> >= 0 for all i

    (gradient episodic memory, Lopez-Paz & Ranzato 2017). Its dual is non-negative
    least squares: d = u + sum_i v_i r_i with v = argmin_{v >= 0} |u + sum_i v_i r_i|^2. Where
    v_i > 0, <d, r_i> = 0: so v says which gradients are active, and u without its component in
    their span is d. For k = 1 this is `project(updates, r, when="conflict")`.

    Args:
        updates: a tree of floating-point arrays, in the descent convention.
        retain_grads: the same structure; every leaf with a leading axis of length k, each gradient
            at a scale of its own. Dependent, equal and zero gradients are fine.

    Returns:
        The projected tree: structure, shapes and dtypes of `updates`; `updates` as it is where
        nothing conflicts or an entry is not finite.

    Raises:
        ValueError: structures or shapes differ (names the leaf).
        TypeError: a leaf is not floating point (names the leaf).
    """
    return project_set_and_measure(updates, retain_grads, when="conflict")[0]


def project_set_and_measure(
    updates: Tree, retain_grads: Tree, *, when: When = "always", incoming: Incoming = "gradients"
) -> tuple[Tree, Conflict]:
    """Takes k retain gradients out, and returns the `Conflict` with their mean before it.

    Args:
        updates: see `project_cone`.
        retain_grads: see `project_cone`.
        when: "always": their whole span; "conflict": onto their cone.
        incoming: "gradients", or "steps" where `updates` are what an optimiser returned: those
            point the other way, and the cone is <d, r_i> <= 0.
    """
    choice(("always", "conflict"), when=when)
    choice(("gradients", "steps"), incoming=incoming)
    if when == "always":
        return project_subspace_and_measure(updates, retain_grads)
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    check_stacked_shapes(updates, retain_grads)
    us, rs = jax.tree.leaves(updates), jax.tree.leaves(retain_grads)
    dtype = accumulator([*us, *rs])
    sign = 1 if incoming == "gradients" else -1
    active = _active(
        [sign * jnp.asarray(u, dtype) for u in us], [jnp.asarray(r, dtype) for r in rs]
    )

    def of_active(r):
        return jnp.where(active.reshape(-1, *[1] * (r.ndim - 1)), r, jnp.zeros_like(r))

    projected, conflict = project_subspace_and_measure(
        updates, jax.tree.map(of_active, retain_grads)
    )
    with_mean = measure(updates, mean_of_set(retain_grads))
    return projected, with_mean._replace(projected=conflict.projected)


def _active(us: Rows, rs: Rows) -> jax.Array:
    """Which of the k constraints hold with equality at the nearest vector of the cone, [k]."""
    if not us:
        return jnp.zeros(0, bool)
    basis, _ = orthonormal_basis(rs)
    # In the coordinates of the span, of gradients and update at unit length: what of the update
    # lies outside the span adds a constant to the least squares.
    matrix, target = _unit(inner(basis, rs)), _unit(along(basis, us)[:, None])
    return optax.nnls(matrix, -target[:, 0], ITERATIONS) > 0


def _unit(columns: jax.Array) -> jax.Array:
    """Columns at unit length, whatever their scale; a column of zeros as it is."""
    columns = columns * scale_by_power_of_two(jnp.max(jnp.abs(columns), axis=0))[None]
    length = jnp.sqrt(jnp.sum(jnp.square(columns), axis=0, keepdims=True))
    return columns / jnp.where(length > 0, length, 1)
