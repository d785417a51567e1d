"""How an update stands to the retain gradient: `Conflict`, and the state that shows it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.surgery._gramian import combine
from gsu_jax.surgery._inner_products import InnerProducts, accumulator, inner_products
from gsu_jax.surgery._span import Normal
from gsu_jax.surgery._tree_checks import Tree, check_trees


class Conflict(NamedTuple):
    """How an update stood to the retain gradient before anything was projected; scalars.

    Attributes:
        cosine: <u, r> / (|u| |r|), in [-1, 1]; 0 where u or r is zero, NaN where one is not finite.
            Of gradients (descent convention), negative means that a step along the update raises
            the retained loss; of steps (after an optimiser), positive means it.
        update_norm: |u|.
        retain_norm: |r|; of a set of retain gradients, the norm of their mean (so with `cosine`).
        projected: whether a component was taken out (of at least one group, with a `scope`).
    """

    cosine: jax.Array
    update_norm: jax.Array
    retain_norm: jax.Array
    projected: jax.Array


def measure(updates: Tree, retain_grads: Tree) -> Conflict:
    """Returns the `Conflict` of the two trees and projects nothing; raises as `project` does."""
    check_trees(updates, retain_grads)
    us, rs = jax.tree.leaves(updates), jax.tree.leaves(retain_grads)
    products = inner_products(us, rs, (0,) * len(us))
    return conflict_of_products(products, jnp.zeros_like(products.dot, bool))


def conflict_with_mean(normal: Normal) -> Conflict:
    """The conflict with the mean of the rows: a row's share of it is 1 / k."""
    k = len(normal.along)
    update_norm = jnp.sqrt(normal.update_square)
    retain_norm = jnp.sqrt(jnp.sum(normal.gramian)) / k
    cosine = jnp.sum(normal.along) / k / (update_norm * retain_norm)
    return Conflict(jnp.clip(cosine, -1, 1), update_norm, retain_norm, normal.usable)


def mean_of_set(retain_grads: Tree) -> Tree:
    """The mean of k retain gradients: their leading axis averaged away, in float32 at least."""
    leaves, structure = jax.tree.flatten(retain_grads)
    # As a weighted sum: a mean over a short leading axis is 40 times slower on XLA's CPU backend.
    means = [
        combine(jnp.full(len(r), 1 / len(r), accumulator([r])), [jnp.asarray(r, accumulator([r]))])
        for r in leaves
    ]
    return structure.unflatten([mean for (mean,) in means])


def conflict_of_products(products: InnerProducts, project_group: jax.Array) -> Conflict:
    """The conflict of the whole trees from the inner products of their groups."""
    update_norms = jnp.sqrt(products.update_square)
    retain_norms = jnp.sqrt(products.retain_square)
    both = update_norms * retain_norms
    cosines = jnp.where(both > 0, products.dot / jnp.where(both > 0, both, 1), 0)
    update_share, update_norm = _normalise(update_norms / products.update_scale)
    retain_share, retain_norm = _normalise(retain_norms / products.retain_scale)
    cosine = jnp.clip(jnp.sum(cosines * update_share * retain_share), -1, 1)
    cosine = jnp.where(jnp.all(products.finite), cosine, jnp.nan)
    return Conflict(cosine, update_norm, retain_norm, jnp.any(project_group))


def _normalise(norms: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns `norms` over their own norm, and that norm, without squaring large numbers."""
    largest = jnp.max(norms, initial=0)
    usable = (largest > 0) & jnp.isfinite(largest)
    ratios = norms / jnp.where(usable, largest, 1)
    total = jnp.sqrt(jnp.sum(jnp.square(ratios)))
    return ratios / jnp.where(usable, total, 1), jnp.where(usable, total, 1) * largest


class ProjectConflictingState(NamedTuple):
    """The conflict of the last step, before its projection (`gsu_jax.surgery.Conflict`), float32.

    Attributes:
        cosine: of the incoming update and the retain gradient; NaN if either was not finite.
        update_norm: of the incoming update.
        retain_norm: of the retain gradient.
        projected: whether anything was taken out.
    """

    cosine: jax.Array
    update_norm: jax.Array
    retain_norm: jax.Array
    projected: jax.Array


def no_conflict() -> ProjectConflictingState:
    """The state before the first step."""
    zero = jnp.zeros((), jnp.float32)
    return ProjectConflictingState(zero, zero, zero, jnp.zeros((), bool))


def conflict_state(conflict: Conflict) -> ProjectConflictingState:
    """`conflict` in float32 whatever the updates are, so that the state keeps its dtypes."""
    measured = [value.astype(jnp.float32) for value in conflict[:3]]
    return ProjectConflictingState(*measured, conflict.projected)
