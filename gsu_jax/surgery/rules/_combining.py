"""A rule for two gradients as an optax transform."""

from collections.abc import Callable

import optax

from gsu_jax.surgery._conflict import ProjectConflictingState, conflict_state, measure, no_conflict
from gsu_jax.surgery._pmean import AxisName, average
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Tree


def combining(
    name: str, combine: Callable[[Tree, Tree], Tree], axis_name: AxisName | None
) -> optax.GradientTransformationExtraArgs:
    """A transform of `combine(updates, retain_grads)` that measures the conflict before it."""

    def init(params: Tree) -> ProjectConflictingState:
        del params
        return no_conflict()

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del state, params, extra_args
        r = mean_retain_grads(name, updates, retain_grads, None, axis_name)
        if axis_name is not None:
            updates = average("updates", updates, axis_name)
        conflict = measure(updates, r)
        conflict = conflict._replace(projected=conflict.cosine < 0)
        return combine(updates, r), conflict_state(conflict)

    return optax.GradientTransformationExtraArgs(init, update)


def check_share(name: str, value: float) -> None:
    if isinstance(value, (int, float)) and not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), found {value}.")
