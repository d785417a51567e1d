"""Rules that make one gradient of a forget gradient u and a retain gradient r, as pure functions.

Both are trees in the descent convention: what an optimiser subtracts. `gsu_jax.combine` has the
same rules as optax transforms; the projection itself is in `gsu_jax.surgery`, the cone of k retain
gradients in `gsu_jax.cone`.
"""

import jax
import jax.numpy as jnp

from gsu_jax.cone import project_set_and_measure
from gsu_jax.inner_products import accumulator, scale_by_power_of_two
from gsu_jax.surgery import Conflict, Tree, When, project, project_and_measure
from gsu_jax.trees import check_floating, check_same_shapes, check_same_structure, is_stacked

Leaves = list[jax.Array]


def project_both(updates: Tree, retain_grads: Tree) -> Tree:
    """Takes each of the two out of the other where they conflict, and adds them up.

    With u and r the two trees as single vectors: where <u, r> < 0

        (u - (<u, r> / <r, r>) r) + (r - (<r, u> / <u, u>) u)

    and else u + r (PCGrad for two tasks, Yu et al. 2020).

    Args:
        updates: a tree of floating-point arrays.
        retain_grads: the gradient of the retained loss: same structure and shapes.

    Returns:
        A tree with the structure, shapes and dtypes of `updates`; `updates` where r is zero.

    Raises:
        ValueError: structures or shapes differ (names the leaf).
        TypeError: a leaf is not floating point (names the leaf).
    """
    u, r = _widened(updates, retain_grads)
    both = zip(project(u, r, when="conflict"), project(r, u, when="conflict"), strict=True)
    return _like(updates, [a + b for a, b in both])


def conflict_averse(updates: Tree, retain_grads: Tree, c: float = 0.5) -> Tree:
    r"""The direction near the mean of both whose worse inner product with them is largest.

    With u and r the two trees as single vectors and g = (u + r) / 2 their mean:

    .. math:: \arg\max_d \min(\langle u, d \rangle, \langle r, d \rangle)
        \quad \text{such that} \quad |d - g| \le c |g|

    (CAGrad, Liu et al. 2021). With m(w) = w u + (1 - w) r, its dual is to minimise
    <m(w), g> + c |g| |m(w)| over w in [0, 1], and then d = g + c |g| m / |m|. In w this is a
    straight line plus the distance to a point, the origin, on another line: its least value is
    found in closed form.

    Args:
        updates: a tree of floating-point arrays.
        retain_grads: the gradient of the retained loss: same structure and shapes.
        c: how far d may leave the mean, relative to its norm; in [0, 1). At 0, d is the mean.

    Returns:
        A tree with the structure, shapes and dtypes of `updates`; g = `updates` / 2 where r is
        zero.

    Raises:
        ValueError: structures or shapes differ (names the leaf).
        TypeError: a leaf is not floating point (names the leaf).
    """
    u, r = _widened(updates, retain_grads)
    if not u:
        return updates
    scale = scale_by_power_of_two(jnp.maximum(_largest(u), _largest(r)))
    u, r = [scale * x for x in u], [scale * x for x in r]
    mean = [(a + b) / 2 for a, b in zip(u, r, strict=True)]
    reach = jnp.asarray(c, scale.dtype) * _norm(mean)

    weight = _dual_weight(u, r, mean, reach)
    mixed = [weight * a + (1 - weight) * b for a, b in zip(u, r, strict=True)]
    own_scale = scale_by_power_of_two(_largest(mixed))
    mixed = [own_scale * m for m in mixed]
    norm = _norm(mixed)
    factor = jnp.where(norm > 0, reach / jnp.where(norm > 0, norm, 1), 0)
    return _like(updates, [(g + factor * m) / scale for g, m in zip(mean, mixed, strict=True)])


def _dual_weight(u: Leaves, r: Leaves, mean: Leaves, reach: jax.Array) -> jax.Array:
    """The minimiser over w in [0, 1] of <m, mean> + reach |m|, m = r + w (u - r)."""
    line = [a - b for a, b in zip(u, r, strict=True)]
    slope, square = _dot(line, mean), _dot(line, line)
    nearest = -_dot(r, line) / jnp.where(square > 0, square, 1)
    distance = _norm([b + nearest * e for b, e in zip(r, line, strict=True)])
    # With w = nearest + t, |m|^2 = distance^2 + square t^2: the derivative is zero at
    # t = -slope distance / sqrt(square (reach^2 square - slope^2)), where that root is real.
    bend = reach**2 * square - slope**2
    inside = (square > 0) & (bend > 0)
    root = jnp.sqrt(jnp.where(inside, square, 1)) * jnp.sqrt(jnp.where(inside, bend, 1))
    straight = jnp.where(slope > 0, 0, 1).astype(slope.dtype)  # then the line alone decides
    return jnp.where(inside, jnp.clip(nearest - slope * distance / root, 0, 1), straight)


def project_in_metric(
    updates: Tree, retain_grads: Tree, preconditioner: Tree, *, when: When = "always"
) -> Tree:
    """Takes out of a preconditioned update what changes the retained loss, in the metric of P.

    With s = P^-1 a the preconditioned update, r the retain gradient and P > 0 diagonal:

        s - (<r, s> / <r, P^-1 r>) P^-1 r

    has no inner product with r, and of all such vectors is the one nearest to s by the norm
    sqrt(<x, P x>) in which the optimiser itself moves. In coordinates x' = P^(1/2) x it is the
    plain projection: of P^(1/2) s on P^(-1/2) r.

    Args:
        updates: s, a tree of floating-point arrays in the descent convention.
        retain_grads: the same structure and shapes, or all leaves with a leading axis of length k.
        preconditioner: the diagonal of P, of the shapes of `updates`: for Adam sqrt(nu) + epsilon.
        when: "always", or "conflict": only where <s, r> < 0; of k gradients, onto their cone.

    Returns:
        The projected tree, as `project` does.

    Raises:
        ValueError: structures or shapes differ (names the leaf), unknown `when`.
        TypeError: a leaf is not floating point (names the leaf).
    """
    return project_in_metric_and_measure(updates, retain_grads, preconditioner, when=when)[0]


def project_in_metric_and_measure(
    updates: Tree, retain_grads: Tree, preconditioner: Tree, *, when: When = "always"
) -> tuple[Tree, Conflict]:
    """Returns `project_in_metric(...)` and the `Conflict` before it, measured in the metric."""
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    check_same_structure(updates, retain_grads)
    stacked = is_stacked(updates, retain_grads)
    dtype = accumulator([*jax.tree.leaves(updates), *jax.tree.leaves(retain_grads)])
    roots = jax.tree.map(lambda p: jnp.sqrt(jnp.asarray(p, dtype)), preconditioner)
    u = jax.tree.map(lambda s, root: jnp.asarray(s, dtype) * root, updates, roots)
    r = jax.tree.map(
        lambda r, root: jnp.asarray(r, dtype) / (root[None] if stacked else root),
        retain_grads,
        roots,
    )
    chosen = project_set_and_measure if stacked else project_and_measure
    projected, conflict = chosen(u, r, when=when)

    def back(s, p, root):
        # Where nothing was taken out, the update itself: not rounded there and back.
        kept = jnp.asarray(s, dtype)
        return jnp.where(conflict.projected, p / root, kept).astype(jnp.result_type(s))

    return jax.tree.map(back, updates, projected, roots), conflict


def _widened(updates: Tree, retain_grads: Tree) -> tuple[Leaves, Leaves]:
    """The leaves of both, checked, in the dtype that sums are taken in."""
    check_same_shapes(updates, retain_grads)
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    us, rs = jax.tree.leaves(updates), jax.tree.leaves(retain_grads)
    dtype = accumulator([*us, *rs])
    return [jnp.asarray(u, dtype) for u in us], [jnp.asarray(r, dtype) for r in rs]


def _like(updates: Tree, leaves: Leaves) -> Tree:
    own, structure = jax.tree.flatten(updates)
    return structure.unflatten(
        [leaf.astype(jnp.result_type(u)) for leaf, u in zip(leaves, own, strict=True)]
    )


def _dot(a: Leaves, b: Leaves) -> jax.Array:
    return sum(jnp.sum(x * y) for x, y in zip(a, b, strict=True))


def _norm(a: Leaves) -> jax.Array:
    return jnp.sqrt(_dot(a, a))


def _largest(a: Leaves) -> jax.Array:
    return jnp.stack([jnp.max(jnp.abs(x), initial=0) for x in a]).max()
