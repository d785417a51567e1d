"""Measures the step that is applied against the retain gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery._conflict import Conflict, conflict_state, measure
from gsu_jax.surgery._layer_conflicts import LayerConflictsState
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Tree


class MeasureConflictState(NamedTuple):
    """The conflict of the step that is applied, in float32.

    Attributes:
        cosine: The cosine of the step and the retain gradient. To first order, the retained loss
            changes by cosine * step_norm * retain_norm.
        step_norm: The norm of the step.
        retain_norm: The norm of the retain gradient.
    """

    cosine: jax.Array
    step_norm: jax.Array
    retain_norm: jax.Array


def measure_conflict(
    retain_grads: Tree | None = None, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    """Records, last in a chain, how the applied step relates to the retain gradient.

    The updates pass through unchanged. With s the step (which is added to the parameters) and r the
    retain gradient, the retained loss changes by <s, r> = cosine |s| |r| to first order. If the
    cosine is positive, the retained loss rises; if it is zero, the step preserves it.

    Args:
        retain_grads: A fixed retain gradient; `retain_grads` of `update` takes precedence. Of k
            gradients along a leading axis, the mean is measured against.
        axis_name: Under `pmap` or `shard_map`, the axis over which the retain gradient is averaged.
            The step must be the same on all devices by then.

    Returns:
        A transform with the state `MeasureConflictState`.

    Raises:
        ValueError: From `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> optimizer = optax.chain(optax.sgd(1.0), measure_conflict())
        >>> grads, retain = jnp.array([3.0, 4.0]), jnp.array([0.0, 1.0])
        >>> _, state = optimizer.update(grads, optimizer.init(grads), retain_grads=retain)
        >>> round(float(optax.tree.get(state, "cosine")), 3)
        -0.8
    """
    fixed = retain_grads

    def init(params: Tree) -> MeasureConflictState:
        del params
        return MeasureConflictState(*[jnp.zeros((), jnp.float32) for _ in range(3)])

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del state, params, extra_args
        r = mean_retain_grads("measure_conflict", updates, retain_grads, fixed, axis_name)
        return updates, MeasureConflictState(*conflict_state(measure(updates, r))[:3])

    return optax.GradientTransformationExtraArgs(init, update)


def conflict_metrics(state: Any) -> dict[str, jax.Array]:
    """Returns the cosines of the last step in the state of an optax chain.

    Args:
        state: The state of any optax transform.

    Returns:
        "cosine" if a transform measured the incoming update, "applied_cosine" if
        `measure_conflict` measured the applied step, and for each layer of `layer_conflicts`
        "cosine of LAYER", in which a path is written with dots, such as "encoder.kernel".

    Example:
        >>> import jax.numpy as jnp, optax
        >>> optimizer = optax.chain(optax.sgd(1.0), measure_conflict())
        >>> conflict_metrics(optimizer.init(jnp.zeros(2)))
        {'applied_cosine': Array(0., dtype=float32)}
    """
    names = {Conflict: "cosine", MeasureConflictState: "applied_cosine"}
    kinds = (*names, LayerConflictsState)
    nodes = jax.tree.leaves(state, is_leaf=lambda node: type(node) in kinds)
    found = {}
    for node in nodes:
        if isinstance(node, LayerConflictsState):
            # Not with slashes: orbax takes them for branches of a tree.
            cosines = node.last_cosine.items()
            found |= {f"cosine of {layer.replace('/', '.')}": value for layer, value in cosines}
        elif type(node) in names:
            found[names[type(node)]] = node.cosine
    return found
