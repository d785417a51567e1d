"""A transform from a rule that combines one update and one retain gradient."""

from collections.abc import Callable

import optax

from gsu_jax.surgery._conflict import Conflict, conflict_state, initial_conflict, measure
from gsu_jax.surgery._pmean_gradients import AxisName, pmean_gradients
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Tree


def combining(
    name: str, combine: Callable[[Tree, Tree], Tree], axis_name: AxisName | None
) -> optax.GradientTransformationExtraArgs:
    """Returns a transform of `combine(updates, retain_grads)` with the `Conflict` before it."""

    def init(params: Tree) -> Conflict:
        del params
        return initial_conflict()

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del state, params, extra_args
        r = mean_retain_grads(name, updates, retain_grads, None, axis_name)
        updates = pmean_gradients("updates", updates, axis_name)
        conflict = measure(updates, r)
        conflict = conflict._replace(projected=conflict.cosine < 0)
        return combine(updates, r), conflict_state(conflict)

    return optax.GradientTransformationExtraArgs(init, update)
