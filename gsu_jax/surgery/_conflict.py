"""`Conflict`: the angle between an update and the retain gradient, and both norms.

This file measures and never projects.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.surgery._gramian import combine_rows
from gsu_jax.surgery._inner_products import InnerProducts, inner_products
from gsu_jax.surgery._leaves import Leaves, accumulator, widened
from gsu_jax.surgery._tree_checks import Tree, check_gradients


class Conflict(NamedTuple):
    """How an update relates to the retain gradient before the projection; four scalars.

    `Conflict` is also the state of `project_conflicting` and of the rules, in float32.

    Attributes:
        cosine: <u, r> / (|u| |r|), in [-1, 1]; 0 if u or r is zero, NaN if either is not finite.
            For gradients (descent convention), a negative cosine means that a step along the
            update raises the retained loss. For steps (after an optimizer), a positive one does.
        update_norm: |u|.
        retain_norm: |r|. For a set of retain gradients, r is their mean (in `cosine` too).
        projected: Whether the projection removed a component (with a `scope`, from at least one
            group). For `pcgrad`, `cagrad`, `nash`, `barrier` and `project_retain`, which
            combine two gradients: whether the two conflict, that is, `cosine` < 0.
    """

    cosine: jax.Array
    update_norm: jax.Array
    retain_norm: jax.Array
    projected: jax.Array


def measure(updates: Tree, retain_grads: Tree) -> Conflict:
    """Returns the `Conflict` of two trees without projecting anything.

    Args:
        updates: A tree of floating-point arrays.
        retain_grads: The gradient of the retained loss, or k of them along a leading axis of every
            leaf; their mean is measured against.

    Returns:
        The conflict; `projected` is False.

    Raises:
        ValueError: Structures or shapes differ (names the leaf).
        TypeError: A leaf is not floating point (names the leaf).

    Example:
        >>> import jax.numpy as jnp
        >>> conflict = measure(jnp.array([3.0, 0.0]), jnp.array([-3.0, 4.0]))
        >>> round(float(conflict.cosine), 4), float(conflict.retain_norm)
        (-0.6, 5.0)
    """
    if check_gradients(updates, retain_grads):
        retain_grads = mean_gradient(retain_grads)
    return measure_leaves(*widened(updates, retain_grads))


def measure_leaves(us: Leaves, rs: Leaves) -> Conflict:
    """Returns the `Conflict` of two lists of leaves of one dtype."""
    products = inner_products(us, rs, (0,) * len(us))
    return conflict_from_products(products, jnp.zeros_like(products.dot, bool))


def mean_gradient(retain_grads: Tree) -> Tree:
    """Returns the mean of k stacked retain gradients, in float32 at least."""
    leaves, structure = jax.tree.flatten(retain_grads)
    # As a weighted sum: a mean over a short leading axis is 40 times slower on XLA's CPU backend.
    means = [
        combine_rows(
            jnp.full(len(r), 1 / len(r), accumulator([r])), [jnp.asarray(r, accumulator([r]))]
        )
        for r in leaves
    ]
    return structure.unflatten([mean for (mean,) in means])


def conflict_from_products(products: InnerProducts, project_group: jax.Array) -> Conflict:
    """Returns the conflict of the whole trees from the inner products of their groups.

    With u_g and r_g the parts of u and r in group g,

        cos = sum_g cos_g (|u_g| / |u|) (|r_g| / |r|)
    """
    update_norms = jnp.sqrt(products.update_square)
    retain_norms = jnp.sqrt(products.retain_square)
    both = update_norms * retain_norms
    cosines = jnp.where(both > 0, products.dot / jnp.where(both > 0, both, 1), 0)
    update_share, update_norm = _shares(update_norms, products.update_scale)
    retain_share, retain_norm = _shares(retain_norms, products.retain_scale)
    cosine = jnp.clip(jnp.sum(cosines * update_share * retain_share), -1, 1)
    cosine = jnp.where(jnp.all(products.finite), cosine, jnp.nan)
    return Conflict(cosine, update_norm, retain_norm, jnp.any(project_group))


def initial_conflict() -> Conflict:
    """Returns the state of a transform before its first step."""
    # An array each: a state that is donated must not hold one twice.
    return Conflict(*[jnp.zeros((), jnp.float32) for _ in range(3)], jnp.zeros((), bool))


def conflict_state(conflict: Conflict) -> Conflict:
    """Returns `conflict` in float32, so that a state keeps its dtypes for updates of any dtype."""
    measured = [value.astype(jnp.float32) for value in conflict[:3]]
    return Conflict(*measured, conflict.projected)


def _shares(norms: jax.Array, scales: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the shares of `norms / scales` in their norm, and that norm.

    The scales are powers of two. The smallest of them is taken out until the end, so that the
    shares are right even if the norm is beyond the range of its dtype.
    """
    scale = jnp.min(scales, initial=jnp.inf)
    shares, norm = _normalize(norms * (scale / scales))
    return shares, norm / scale


def _normalize(norms: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns `norms` over their own norm, and that norm, without squaring large numbers."""
    largest = jnp.max(norms, initial=0)
    usable = (largest > 0) & jnp.isfinite(largest)
    ratios = norms / jnp.where(usable, largest, 1)
    total = jnp.sqrt(jnp.sum(jnp.square(ratios)))
    return ratios / jnp.where(usable, total, 1), jnp.where(usable, total, 1) * largest
