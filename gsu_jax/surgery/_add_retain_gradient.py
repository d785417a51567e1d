"""Adds the retain gradient to the updates."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery._leaves import like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._retain_grads import mean_retain_grads
from gsu_jax.surgery._tree_checks import Tree


class AddRetainGradientState(NamedTuple):
    """The state of a weight that is a schedule.

    Attributes:
        count: The number of steps taken.
    """

    count: jax.Array


def add_retain_gradient(
    weight: float | jax.Array | Callable[[jax.Array], jax.Array],
    retain_grads: Tree | None = None,
    *,
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adds the weighted retain gradient to the updates.

    With u the updates and r the retain gradient:

    .. math:: u + \text{weight} \cdot r

    After `project_conflicting` and before the optimizer, this is the restricted gradient. It
    forgets along directions that preserve the retained loss, and lowers that loss at the same time.

    Args:
        weight: A number, or a schedule, which is a function of the number of steps taken.
        retain_grads: A fixed retain gradient; `retain_grads` of `update` takes precedence. Of k
            gradients along a leading axis, the mean is added.
        axis_name: The mapped axis over which to `pmean` the retain gradient. The updates must
            already be averaged over it.

    Returns:
        A transform with the state `AddRetainGradientState` for a schedule, else an empty state.

    Raises:
        ValueError: From `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = add_retain_gradient(0.5)
        >>> updates, retain = jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0])
        >>> transform.update(updates, transform.init(updates), retain_grads=retain)[0].tolist()
        [1.0, 1.0]

    References:
        Ko et al., `Boosting Alignment for Post-Unlearning Text-to-Image Generative Models
        <https://arxiv.org/abs/2412.07808>`_, 2024.
    """
    fixed = retain_grads

    def init(params: Tree) -> AddRetainGradientState | optax.EmptyState:
        del params
        if not callable(weight):
            return optax.EmptyState()
        return AddRetainGradientState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        retain_grads = mean_retain_grads(
            "add_retain_gradient", updates, retain_grads, fixed, axis_name
        )
        weight_now = weight(state.count) if callable(weight) else weight
        us, rs = widened(updates, retain_grads)
        sums = [u + jnp.asarray(weight_now, u.dtype) * r for u, r in zip(us, rs, strict=True)]
        if callable(weight):
            state = AddRetainGradientState(optax.safe_increment(state.count))
        return like_updates(updates, sums), state

    return optax.GradientTransformationExtraArgs(init, update)
