"""The retain gradient that a transform uses in a step: given at construction or at the update."""

from typing import Any

import jax
import optax

from gsu_jax.surgery._conflict import mean_of_set
from gsu_jax.surgery._pmean import average
from gsu_jax.surgery._tree_checks import (
    Tree,
    check_floating,
    check_same_shapes,
    check_stacked_shapes,
    is_stacked,
)


def retain_grads_of_step(
    transform: str, updates: Tree, given: Tree | None, fixed: Tree | None = None
) -> Tree:
    """The retain gradient of this step, or an error that says how to hand it over."""
    retain_grads = fixed if given is None else given
    if retain_grads is None:
        raise ValueError(
            f"{transform} needs the gradient of the retained loss: call "
            "optimizer.update(grads, state, params, retain_grads=...). If you did, a wrapper in "
            "between drops extra arguments, such as MultiSteps(...).gradient_transformation()"
        )
    if _is_masked(updates) and not _is_masked(retain_grads):
        raise ValueError(
            f"{transform} got masked updates and a retain_grads that is not masked: give "
            "optax.masked or optax.partition mask_compatible_extra_args=True, and retain_grads to "
            "update (one given at construction is not masked)"
        )
    return retain_grads


def mean_retain_grads(
    transform: str, updates: Tree, given: Tree | None, fixed: Tree | None, axis_name: Any
) -> Tree:
    """The retain gradient of this step as one vector: a set averaged, and over the devices too."""
    r = retain_grads_of_step(transform, updates, given, fixed)
    check_floating(updates, "updates")
    check_floating(r, "retain_grads")
    if is_stacked(updates, r):
        check_stacked_shapes(updates, r)
        r = mean_of_set(r)
    check_same_shapes(updates, r)
    averaged = axis_name is None or given is None
    return r if averaged else average("retain_grads", r, axis_name)


def _is_masked(tree: Tree) -> bool:
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    return any(isinstance(leaf, optax.MaskedNode) for leaf in leaves)
