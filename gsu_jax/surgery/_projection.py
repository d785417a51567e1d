r"""Removes from one gradient its component along others, as pure functions on trees.

With both trees ravelled into single vectors u and r (`jax.flatten_util.ravel_pytree`), the
projection is

    project(u, r) = u - (<u, r> / <r, r>) r

(Bae et al. 2023, section 3.2). The implementation takes the same inner products leaf by leaf.
Nothing is copied into one long vector, and sharded leaves stay where they are.

Gradients follow the descent convention: an optimizer subtracts them. Forgetting ascends its loss,
so the update to project is minus the gradient of the loss on the forget set.
"""

from collections.abc import Hashable

import jax
import jax.numpy as jnp

from gsu_jax.checks import choice
from gsu_jax.surgery._cone import active_rows
from gsu_jax.surgery._conflict import (
    Conflict,
    conflict_from_products,
    mean_gradient,
    measure_leaves,
)
from gsu_jax.surgery._inner_products import inner_products
from gsu_jax.surgery._layer_labels import broadcast_labels
from gsu_jax.surgery._leaves import like_updates, widened
from gsu_jax.surgery._span import remove_span
from gsu_jax.surgery._tree_checks import Incoming, Tree, When, check_gradients, check_stacked


def project(
    updates: Tree, retain_grads: Tree, *, when: When = "always", scope: str | Tree = "global"
) -> Tree:
    r"""Removes from `updates` its component along `retain_grads`.

    With u and r the two trees as single vectors:

    .. math:: u - \frac{\langle u, r \rangle}{\langle r, r \rangle} r

    To first order, a step along the result leaves the retained loss unchanged (Bae et al. 2023,
    Theorem 2.2).

    Inner products are computed in float32 at least (in float64 if a leaf is float64), and trees
    whose squares could leave that range are rescaled first. The remaining component along r is of
    the order of float32's rounding of |u| |r|. Leaves in bfloat16 or float16 are rounded to their
    own dtype at the end.

    Args:
        updates: A tree of floating-point arrays, in the descent convention; dtypes may be mixed.
        retain_grads: The gradient of the retained loss, with the same structure and shapes. Or k
            gradients, along a leading axis of every leaf: then the result is that of
            `project_subspace` ("always") or `project_cone` ("conflict").
        when: "always" (the paper) or "conflict", which projects only if <u, r> < 0 (PCGrad).
        scope: What counts as one vector. "global": the whole tree; "leaf": each leaf; or a tree of
            labels, with the structure of `updates` or a prefix of it. Leaves with equal labels form
            one vector, as in `{"encoder": 0, "decoder": 1}`. A set of k gradients takes "global".

    Returns:
        A tree with the structure, shapes and dtypes of `updates`. If r is zero, or if u or r is not
        finite, the values are those of `updates`.

    Raises:
        ValueError: Structures or shapes differ (names the leaf), or `when` or `scope` is unknown.
        TypeError: A leaf is not floating point (names the leaf).

    Example:
        >>> import jax.numpy as jnp
        >>> project(jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0])).tolist()
        [1.0, 0.0]
        >>> project(jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0]), when="conflict").tolist()
        [1.0, 1.0]

    References:
        Bae et al., `Gradient Surgery for One-shot Unlearning on Generative Model
        <https://arxiv.org/abs/2307.04550>`_, 2023. Yu et al., `Gradient Surgery for Multi-Task
        Learning <https://arxiv.org/abs/2001.06782>`_, 2020.
    """
    return project_and_measure(updates, retain_grads, when=when, scope=scope)[0]


def project_subspace(updates: Tree, retain_grads: Tree) -> Tree:
    r"""Removes from `updates` its component in the span of k retain gradients.

    With r_1 ... r_k the retain gradients as single vectors, and the rows of Q an orthonormal basis
    of their span:

    .. math:: u - Q^\top Q u

    (Bae et al. 2023, "a set of retain samples"). If the k x k Gramian is well conditioned, its
    normal equations are solved twice; otherwise Q comes from it in two rounds. Dependent, equal and
    zero gradients add no direction. In float32, gradients that differ by less than about 1e-5 of
    their length count as equal: measured, by less than 7e-6 for k = 2, 2e-5 for k = 8 and 8e-5 for
    k = 32.

    Args:
        updates: A tree of floating-point arrays, in the descent convention.
        retain_grads: A tree of the same structure, with a leading axis of length k on every leaf.
            A working copy of it is made.

    Returns:
        The projected tree, as `project` does.

    Raises:
        ValueError: Structures or shapes differ (names the leaf).
        TypeError: A leaf is not floating point (names the leaf).

    Example:
        >>> import jax.numpy as jnp
        >>> retain = jnp.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
        >>> project_subspace(jnp.array([1.0, 2.0, 3.0]), retain).round(5).tolist()
        [0.0, 0.0, 3.0]
    """
    check_stacked(updates, retain_grads)
    return project_and_measure(updates, retain_grads)[0]


def project_cone(updates: Tree, retain_grads: Tree) -> Tree:
    r"""Projects `updates` onto the cone of directions that agree with k retain gradients.

    With u the updates and r_1 ... r_k the retain gradients as single vectors:

    .. math:: \arg\min_d |d - u|^2 \quad \text{such that} \quad \langle d, r_i \rangle \ge 0

    for all i (gradient episodic memory). The dual is non-negative least squares,
    d = u + sum_i v_i r_i with v = argmin_{v >= 0} |u + sum_i v_i r_i|^2. A gradient with v_i > 0 is
    active, <d, r_i> = 0, and d is u without its component in the span of the active gradients. For
    k = 1, this is `project(updates, r, when="conflict")`.

    Args:
        updates: A tree of floating-point arrays, in the descent convention.
        retain_grads: A tree of the same structure, with a leading axis of length k on every leaf.
            Each gradient may have its own scale; dependent, equal and zero gradients are allowed.

    Returns:
        The projected tree, as `project` does; the values of `updates` if nothing conflicts.

    Raises:
        ValueError: Structures or shapes differ (names the leaf).
        TypeError: A leaf is not floating point (names the leaf).

    Example:
        >>> import jax.numpy as jnp
        >>> project_cone(jnp.array([-1.0, 2.0]), jnp.eye(2)).round(5).tolist()
        [0.0, 2.0]

    References:
        Lopez-Paz & Ranzato, `Gradient Episodic Memory for Continual Learning
        <https://arxiv.org/abs/1706.08840>`_, 2017.
    """
    check_stacked(updates, retain_grads)
    return project_and_measure(updates, retain_grads, when="conflict")[0]


def project_and_measure(
    updates: Tree,
    retain_grads: Tree,
    *,
    when: When = "always",
    scope: str | Tree = "global",
    incoming: Incoming = "gradients",
) -> tuple[Tree, Conflict]:
    """Returns the projection and the `Conflict` before it, from the same inner products.

    Args:
        updates: See `project`.
        retain_grads: See `project`.
        when: See `project`.
        scope: See `project`.
        incoming: "gradients", or "steps" for what an optimizer returned. Steps have the opposite
            sign, so "conflict" then means <u, r> > 0.
    """
    check_options(when, scope, incoming)
    single_or_set = _off_set if check_gradients(updates, retain_grads) else _off_single
    return single_or_set(updates, retain_grads, when, scope, 1 if incoming == "gradients" else -1)


def check_options(when: When, scope: str | Tree, incoming: Incoming) -> None:
    """Raises ValueError for an unknown option of a projection."""
    choice(("always", "conflict"), when=when)
    choice(("gradients", "steps"), incoming=incoming)
    if isinstance(scope, str):
        choice(("global", "leaf"), "a tree of labels", scope=scope)


def _off_single(
    updates: Tree, retain_grads: Tree, when: When, scope: str | Tree, sign: int
) -> tuple[Tree, Conflict]:
    """Projects group by group off one retain gradient."""
    groups = _groups(updates, scope)
    us, rs = widened(updates, retain_grads)
    products = inner_products(us, rs, groups)
    project_group = products.finite & (products.retain_square > 0)
    if when == "conflict":
        project_group &= sign * products.dot < 0
    # The inner `where` keeps 0 / 0 out of the derivative too.
    coefficient = products.dot / jnp.where(project_group, products.retain_square, 1)
    coefficient /= products.update_scale

    def without_retain(u, r, group):
        component = coefficient[group] * (r * products.retain_scale[group])
        # A `where`, because 0 * inf is not 0.
        return jnp.where(project_group[group], u - component, u)

    projected = like_updates(updates, list(map(without_retain, us, rs, groups)))
    return projected, conflict_from_products(products, project_group)


def _off_set(
    updates: Tree, retain_grads: Tree, when: When, scope: str | Tree, sign: int
) -> tuple[Tree, Conflict]:
    """Projects off the span of k retain gradients, or onto their cone."""
    if not (isinstance(scope, str) and scope == "global"):
        raise ValueError(
            'a set of retain gradients is projected out over the whole tree: use scope="global", '
            f"got {scope!r}"
        )
    us, rs = widened(updates, retain_grads)
    if when == "always":
        remainder, conflict = remove_span(us, rs)
        return like_updates(updates, remainder), conflict
    active = active_rows([sign * u for u in us], rs)

    def of_active(r):
        return jnp.where(active.reshape(-1, *[1] * (r.ndim - 1)), r, jnp.zeros_like(r))

    remainder, conflict = remove_span(us, [of_active(r) for r in rs])
    with_mean = measure_leaves(us, mean_gradient(rs))
    return like_updates(updates, remainder), with_mean._replace(projected=conflict.projected)


def _groups(updates: Tree, scope: str | Tree) -> tuple[int, ...]:
    """The index of the group of each leaf."""
    if isinstance(scope, str):
        leaves = jax.tree.leaves(updates)
        return tuple(range(len(leaves))) if scope == "leaf" else (0,) * len(leaves)
    labels: list[Hashable] = broadcast_labels("scope", scope, updates)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return tuple(numbers[label] for label in labels)
