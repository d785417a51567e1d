"""GRU: projection off a running mean of the retain gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import in_range
from gsu_jax.surgery._conflict import Conflict, conflict_state, initial_conflict
from gsu_jax.surgery._leaves import accumulator
from gsu_jax.surgery._pmean_gradients import AxisName, pmean_gradients
from gsu_jax.surgery._projection import project_and_measure
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Tree


class GRUState(NamedTuple):
    """The running mean of the retain gradients.

    Attributes:
        count: The number of steps taken.
        mean: The mean, before its bias correction.
        conflict: The conflict of the last update with the corrected mean.
    """

    count: jax.Array
    mean: Tree
    conflict: Conflict


def gru(
    decay: float = 0.9, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""GRU: projects the updates off a running mean of the retain gradients if they conflict.

    With m <- decay m + (1 - decay) r over the steps, corrected for its start at zero as Adam's
    moments are, if <u, m> < 0:

    .. math:: u - \frac{\langle u, m \rangle}{\langle m, m \rangle} m

    One small batch of retained images gives a noisy estimate of the retain gradient. The mean over
    steps is less noisy and costs the memory of one more gradient.

    Args:
        decay: The decay of the mean, in [0, 1); 0 is `project_conflicting(when="conflict")`.
        axis_name: As in `pcgrad`.

    Returns:
        A transform with the state `GRUState`. `update` takes `retain_grads`, as in `pcgrad`.

    Raises:
        ValueError: `decay` is not in [0, 1); and from `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = gru(decay=0.9)
        >>> updates, retain = jnp.array([-1.0, 1.0]), jnp.array([2.0, 0.0])
        >>> transform.update(updates, transform.init(updates), retain_grads=retain)[0].tolist()
        [0.0, 1.0]

    References:
        Wang et al., `GRU: Mitigating the Trade-off between Unlearning and Retention for LLMs
        <https://arxiv.org/abs/2503.09117>`_, 2025.
    """
    in_range(0, 1, decay=decay)

    def init(params: Tree) -> GRUState:
        mean = jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), accumulator([p])), params)
        return GRUState(jnp.zeros((), jnp.int32), mean, initial_conflict())

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        r = mean_retain_grads("gru", updates, retain_grads, None, axis_name)
        updates = pmean_gradients("updates", updates, axis_name)

        def follow(mean, r):
            kept = jnp.asarray(decay, mean.dtype)
            return kept * mean + (1 - kept) * r.astype(mean.dtype)

        mean = jax.tree.map(follow, state.mean, r)
        count = optax.safe_increment(state.count)
        unbiased = optax.tree.bias_correction(mean, decay, count)
        updates, conflict = project_and_measure(updates, unbiased, when="conflict")
        return updates, GRUState(count, mean, conflict_state(conflict))

    return optax.GradientTransformationExtraArgs(init, update)
