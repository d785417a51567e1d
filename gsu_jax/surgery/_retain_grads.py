"""The retain gradient of a step, given at construction or at the update."""

import jax
import optax

from gsu_jax.surgery._conflict import mean_gradient
from gsu_jax.surgery._pmean_gradients import AxisName, pmean_gradients
from gsu_jax.surgery._tree_checks import Tree, check_gradients


def retain_grads_of_step(
    transform: str, updates: Tree, given: Tree | None, fixed: Tree | None = None
) -> Tree:
    """Returns `given`, else `fixed`, else raises a ValueError that says how to pass one."""
    retain_grads = fixed if given is None else given
    if retain_grads is None:
        raise ValueError(
            f"{transform} needs the gradient of the retained loss: call "
            "optimizer.update(grads, state, params, retain_grads=...). If you did, something in "
            "between drops extra arguments: flax's TrainState.apply_gradients (call "
            "state.tx.update), or optax.MultiSteps in a chain (use gsu_jax.multi_steps)"
        )
    if _is_masked(updates) and not _is_masked(retain_grads):
        raise ValueError(
            f"{transform} got masked updates and a retain_grads that is not masked: give "
            "optax.masked or optax.partition mask_compatible_extra_args=True, and retain_grads to "
            "update (one given at construction is not masked)"
        )
    return retain_grads


def mean_retain_grads(
    transform: str,
    updates: Tree,
    given: Tree | None,
    fixed: Tree | None,
    axis_name: AxisName | None,
) -> Tree:
    """Returns the retain gradient of this step as one vector, averaged over a set and devices."""
    r = retain_grads_of_step(transform, updates, given, fixed)
    if check_gradients(updates, r):
        r = mean_gradient(r)
    # A fixed retain gradient is the same on every device.
    return r if given is None else pmean_gradients("retain_grads", r, axis_name)


def _is_masked(tree: Tree) -> bool:
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    return any(isinstance(leaf, optax.MaskedNode) for leaf in leaves)
