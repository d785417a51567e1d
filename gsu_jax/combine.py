"""Other rules for a forget and a retain gradient than plain surgery, as optax transforms.

Each takes the retain gradient as an extra argument of `update`, as `project_conflicting` does; the
formulas are in `gsu_jax.rules`. All but `projected_adam` stand before an optimiser.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.device_average import AxisName, average
from gsu_jax.inner_products import accumulator
from gsu_jax.rules import conflict_averse, project_both, project_in_metric_and_measure
from gsu_jax.surgery import Tree, When, check_choice, measure, project, project_and_measure
from gsu_jax.transforms import (
    ProjectConflictingState,
    conflict_state,
    mean_retain_grads,
    no_conflict,
    retain_grads_of_step,
)
from gsu_jax.trees import check_floating


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


class ProjectedAdamState(NamedTuple):
    """The state of Adam.

    Attributes:
        adam: its moments.
        conflict: of the last step's incoming update and retain gradient; `projected`: whether
            anything was taken out of its step.
    """

    adam: optax.ScaleByAdamState
    conflict: ProjectConflictingState


def pcgrad(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    """PCGrad: u and r, each projected off the other where they conflict, and added.

    See `gsu_jax.rules.project_both`. Descends the retained loss too, so no `add_retain_gradient`
    is needed.

    Args:
        axis_name: under `pmap` or `shard_map`, the axis over which both gradients are averaged.

    Returns:
        A transform with the state `ProjectConflictingState`, where `projected` says whether the two
        conflict. Its `update` takes `retain_grads`; of a set with a leading axis, the mean.

    Raises:
        ValueError, TypeError: from `update`, as `project_conflicting`.

    References:
        Yu et al., `Gradient Surgery for Multi-Task Learning <https://arxiv.org/abs/2001.06782>`_,
        2020.
    """
    return _combining("pcgrad", project_both, axis_name)


def cagrad(
    c: float = 0.5, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    """CAGrad: the direction within c |g| of the mean g = (u + r) / 2 that serves both best.

    See `gsu_jax.rules.conflict_averse`.

    Args:
        c: in [0, 1); 0 is the mean of both gradients.
        axis_name: as in `pcgrad`.

    Returns:
        As `pcgrad`.

    Raises:
        ValueError: c is not in [0, 1). ValueError, TypeError: from `update`, as `pcgrad`.

    References:
        Liu et al., `Conflict-Averse Gradient Descent for Multi-task Learning
        <https://arxiv.org/abs/2110.14048>`_, 2021.
    """
    _check_share("c", c)
    return _combining("cagrad", partial(conflict_averse, c=c), axis_name)


def project_retain(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    """S: r - (<r, u> / <u, u>) u, the retain gradient without its component along the update.

    The forget gradient is not followed at all: training goes on, on the retained images, along
    what leaves the forget loss as it is. The sign of u makes no difference.

    Args:
        axis_name: as in `pcgrad`.

    Returns:
        As `pcgrad`.

    Raises:
        ValueError, TypeError: from `update`, as `pcgrad`.

    References:
        Mandal & Gottwald, 2025.
    """

    def combine(updates, retain_grads):
        wide = jax.tree.map(lambda r: jnp.asarray(r, accumulator([r])), retain_grads)
        projected = project(wide, updates)
        return jax.tree.map(lambda p, u: p.astype(jnp.result_type(u)), projected, updates)

    return _combining("project_retain", combine, axis_name)


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
    _check_share("decay", decay)

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


def projected_adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    when: When = "always",
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam whose applied step keeps the retained loss, projected in Adam's own metric.

    With m and nu Adam's bias-corrected moments, P = sqrt(nu) + eps, s = P^-1 m its step and r the
    retain gradient:

    .. math:: s - \frac{\langle r, s \rangle}{\langle r, P^{-1} r \rangle} P^{-1} r

    times the learning rate. Of all steps along which the retained loss does not change, to first
    order, it is the nearest to Adam's by sqrt(<x, P x>). `optax.chain(optax.adam(...),
    project_conflicting(incoming="steps"))` takes the nearest by |x|: it moves along r itself, where
    this moves along what Adam would make of r.

    Args:
        learning_rate: a number, or a schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: as in `optax.adam`.
        when: "always", or "conflict": only where the step would raise the retained loss. With k
            retain gradients (a leading axis) their span, or their cone.
        axis_name: as in `pcgrad`.

    Returns:
        A whole optimiser, in place of `optax.adam`, with a `ProjectedAdamState` in its state.

    Raises:
        ValueError: unknown `when`. ValueError, TypeError: from `update`, as `project_conflicting`.
    """
    check_choice("when", when, ("always", "conflict"))
    adam = optax.scale_by_adam(b1, b2, eps)

    def init(params: Tree) -> ProjectedAdamState:
        return ProjectedAdamState(adam.init(params), no_conflict())

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        r = retain_grads_of_step("projected_adam", updates, retain_grads)
        check_floating(updates, "updates")
        if axis_name is not None:
            updates, r = (
                average("updates", updates, axis_name),
                average("retain_grads", r, axis_name),
            )
        conflict = measure(updates, mean_retain_grads("projected_adam", updates, r, None, None))
        steps, moments = adam.update(updates, state.adam)
        second = optax.tree.bias_correction(moments.nu, b2, moments.count)
        metric = jax.tree.map(lambda nu: jnp.sqrt(jnp.asarray(nu, accumulator([nu]))) + eps, second)
        steps, in_metric = project_in_metric_and_measure(steps, r, metric, when=when)
        conflict = conflict._replace(projected=in_metric.projected)
        return steps, ProjectedAdamState(moments, conflict_state(conflict))

    return optax.chain(
        optax.GradientTransformationExtraArgs(init, update),
        optax.scale_by_learning_rate(learning_rate),
    )


def _combining(
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


def _check_share(name: str, value: float) -> None:
    if isinstance(value, (int, float)) and not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), found {value}.")
