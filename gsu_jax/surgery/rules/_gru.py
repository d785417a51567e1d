"""GRU: projection off a running mean of the retain gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery._conflict import ProjectConflictingState, conflict_state, no_conflict
from gsu_jax.surgery._inner_products import accumulator
from gsu_jax.surgery._pmean import AxisName, average
from gsu_jax.surgery._projection import project_and_measure
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import check_share


class GRUState(NamedTuple):
    """The running mean of the retain gradients.

    Attributes:
        count: the steps taken.
        mean: the mean, not yet corrected for its start at zero.
        conflict: of the last step's update and the corrected mean.
    """

    count: jax.Array
    mean: Tree
    conflict: ProjectConflictingState


def gru(
    decay: float = 0.9, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    """GRU: `project_conflicting(when="conflict")` off a running mean of the retain gradients.

    With m <- decay m + (1 - decay) r over the steps: u - (<u, m> / <m, m>) m where <u, m> < 0.
    One small batch of retained images gives a poor estimate of what is to be kept; the mean over
    steps gives a better one at the cost of keeping it. It starts at zero and is corrected for that,
    as Adam's are.

    Args:
        decay: in [0, 1); 0 is `project_conflicting(when="conflict")`.
        axis_name: as in `pcgrad`.

    Returns:
        A transform with the state `GRUState`. Its `update` takes `retain_grads`, as in `pcgrad`.

    Raises:
        ValueError: decay is not in [0, 1). ValueError, TypeError: from `update`, as `pcgrad`.

    References:
        Wang et al., `GRU: Mitigating the Trade-off between Unlearning and Retention for LLMs
        <https://arxiv.org/abs/2503.09117>`_, 2025.
    """
    check_share("decay", decay)

    def init(params: Tree) -> GRUState:
        mean = jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), accumulator([p])), params)
        return GRUState(jnp.zeros((), jnp.int32), mean, no_conflict())

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        r = mean_retain_grads("gru", updates, retain_grads, None, axis_name)
        if axis_name is not None:
            updates = average("updates", updates, axis_name)

        def follow(mean, r):
            kept = jnp.asarray(decay, mean.dtype)
            return kept * mean + (1 - kept) * r.astype(mean.dtype)

        mean = jax.tree.map(follow, state.mean, r)
        count = optax.safe_increment(state.count)
        unbiased = optax.tree.bias_correction(mean, decay, count)
        updates, conflict = project_and_measure(updates, unbiased, when="conflict")
        return updates, GRUState(count, mean, conflict_state(conflict))

    return optax.GradientTransformationExtraArgs(init, update)
