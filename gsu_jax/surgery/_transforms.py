"""Gradient surgery as optax transforms: the retain gradient is an extra argument of `update`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import choice
from gsu_jax.surgery._cone import project_set_and_measure
from gsu_jax.surgery._conflict import ProjectConflictingState, conflict_state, measure, no_conflict
from gsu_jax.surgery._inner_products import accumulator
from gsu_jax.surgery._pmean import AxisName, average
from gsu_jax.surgery._projection import project_and_measure
from gsu_jax.surgery._retain_grads import mean_retain_grads, retain_grads_of_step
from gsu_jax.surgery._tree_checks import Incoming, Tree, When, is_stacked


class MeasureConflictState(NamedTuple):
    """The conflict of the step that is applied, float32.

    Attributes:
        cosine: of the step and the retain gradient. To first order the retained loss changes by
            cosine * step_norm * retain_norm: positive, it rises.
        step_norm: of the step.
        retain_norm: of the retain gradient.
    """

    cosine: jax.Array
    step_norm: jax.Array
    retain_norm: jax.Array


class AddRetainGradientState(NamedTuple):
    """`count`: the steps taken, for a weight that is a schedule."""

    count: jax.Array


def project_conflicting(
    retain_grads: Tree | None = None,
    *,
    when: When = "always",
    scope: str | Tree = "global",
    incoming: Incoming = "gradients",
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Removes from the updates their component along the gradient of the retained loss.

    With u the updates and r the retain gradient, each as a single vector:

    .. math:: u - \frac{\langle u, r \rangle}{\langle r, r \rangle} r

    so that, to first order, a step along the result leaves the retained loss as it is (Bae et al.
    2023, Theorem 2.2). In a chain *before* an optimiser such as Adam the guarantee is on the
    gradient, not on the step that Adam makes of it; *after* the optimiser (`incoming="steps"`) it
    is on the step. `measure_conflict` at the end shows which you got.

    `update(..., retain_grads=r)` gives the retain gradient of this step. Its leaves have the shapes
    of the updates, or all of them a leading axis of length k: k retain gradients, whose whole span
    is removed ("always"), or the nearest vector taken that raises none of their losses ("conflict":
    `gsu_jax.surgery.project_cone`).

    Args:
        retain_grads: a fixed retain gradient; one given to `update` wins over it.
        when: "always" (the paper) or "conflict": only where the update would raise the retained
            loss (Yu et al. 2020); of k retain gradients, the projection onto their cone.
        scope: "global": the whole tree is one vector; "leaf": each leaf is; or a tree of labels (or
            a prefix of it): leaves with equal labels are.
        incoming: "gradients", or "steps" where this stands after an optimiser. Steps point the
            other way, so the test of "conflict" turns; "always" is the same for both.
        axis_name: under `pmap` or `shard_map`, the axis over which both gradients are averaged
            before the projection, which is not linear in r. Under `jit` with sharded arrays nothing
            is needed.

    Returns:
        A transform with the state `ProjectConflictingState`; read it with
        `optax.tree.get(state, "cosine")`.

    Raises:
        ValueError: from `update`: no retain gradient, leaves that do not match (names the leaf),
            gradients that `shard_map` has summed already, or k retain gradients with a `scope`.
        TypeError: from `update`: a leaf is not floating point (names the leaf).

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from gsu_jax.surgery import project_conflicting
        >>> optimizer = optax.chain(project_conflicting(), optax.sgd(1.0))
        >>> params = jnp.zeros(2)
        >>> update, retain = jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0])
        >>> steps, state = optimizer.update(
        ...     update, optimizer.init(params), params, retain_grads=retain
        ... )
        >>> optax.apply_updates(params, steps).tolist()
        [-1.0, 0.0]
        >>> round(float(optax.tree.get(state, "cosine")), 3)
        0.707

    References:
        Bae et al., `Gradient Surgery for One-shot Unlearning on Generative Model
        <https://arxiv.org/abs/2307.04550>`_, 2023. Yu et al., `Gradient Surgery for Multi-Task
        Learning <https://arxiv.org/abs/2001.06782>`_, 2020.
    """
    choice(("always", "conflict"), when=when)
    choice(("gradients", "steps"), incoming=incoming)
    if isinstance(scope, str):
        choice(("global", "leaf"), "a tree of labels", scope=scope)
    fixed = retain_grads

    def init(params: Tree) -> ProjectConflictingState:
        del params
        return no_conflict()

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del state, params, extra_args
        r = retain_grads_of_step("project_conflicting", updates, retain_grads, fixed)
        if axis_name is not None:
            updates = average("updates", updates, axis_name)
            # A fixed retain gradient is the same on every device: nothing to average.
            r = r if retain_grads is None else average("retain_grads", r, axis_name)
        if is_stacked(updates, r):
            _check_span_scope(scope)
            updates, conflict = project_set_and_measure(updates, r, when=when, incoming=incoming)
        else:
            updates, conflict = project_and_measure(
                updates, r, when=when, scope=scope, incoming=incoming
            )
        return updates, conflict_state(conflict)

    return optax.GradientTransformationExtraArgs(init, update)


def measure_conflict(
    retain_grads: Tree | None = None, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    """Records, last in a chain, how the step that is applied stands to the retain gradient.

    Updates pass through as they are. With s the step (what is added to the parameters) and r the
    retain gradient, the retained loss changes by <s, r> = cosine |s| |r| to first order: a positive
    cosine means that it rises, zero that the step keeps it.

    Args:
        retain_grads: a fixed retain gradient; one given to `update` wins over it. With a leading
            axis, the mean of the k gradients is measured against.
        axis_name: under `pmap` or `shard_map`, the axis over which the retain gradient is averaged;
            the step is expected to be the same on all devices by then.

    Returns:
        A transform with the state `MeasureConflictState`.

    Raises:
        ValueError, TypeError: from `update`, as `project_conflicting`.
    """
    fixed = retain_grads

    def init(params: Tree) -> MeasureConflictState:
        del params
        return MeasureConflictState(*[jnp.zeros((), jnp.float32)] * 3)

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del state, params, extra_args
        r = mean_retain_grads("measure_conflict", updates, retain_grads, fixed, axis_name)
        return updates, MeasureConflictState(*conflict_state(measure(updates, r))[:3])

    return optax.GradientTransformationExtraArgs(init, update)


def add_retain_gradient(
    weight: float | jax.Array | Callable[[jax.Array], jax.Array],
    retain_grads: Tree | None = None,
    *,
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adds `weight` times the retain gradient to the updates: u + weight r.

    After `project_conflicting` and before the optimiser it gives the restricted gradient of Ko et
    al. 2024 (https://arxiv.org/abs/2412.07808): forget along what leaves the retained loss as it
    is, and lower that loss at the same time.

    Args:
        weight: a number, or a schedule: a function of the number of steps taken.
        retain_grads: a fixed retain gradient; one given to `update` wins over it. With a leading
            axis, the mean of the k gradients is added.
        axis_name: under `pmap` or `shard_map`, the axis over which the retain gradient is averaged;
            the updates are expected to be the same on all devices by then.

    Returns:
        A transform with the state `AddRetainGradientState` for a schedule, else an empty state.

    Raises:
        ValueError, TypeError: from `update`, as `project_conflicting`.
    """
    fixed = retain_grads

    def init(params: Tree) -> AddRetainGradientState | optax.EmptyState:
        del params
        if not callable(weight):
            return optax.EmptyState()
        return AddRetainGradientState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        r = mean_retain_grads("add_retain_gradient", updates, retain_grads, fixed, axis_name)
        now = weight(state.count) if callable(weight) else weight

        def add(u, r):
            dtype = accumulator([u, r])
            total = jnp.asarray(u, dtype) + jnp.asarray(now, dtype) * jnp.asarray(r, dtype)
            return total.astype(jnp.result_type(u))

        updates = jax.tree.map(add, updates, r)
        if callable(weight):
            state = AddRetainGradientState(optax.safe_increment(state.count))
        return updates, state

    return optax.GradientTransformationExtraArgs(init, update)


def _check_span_scope(scope: str | Tree) -> None:
    if not (isinstance(scope, str) and scope == "global"):
        raise ValueError(
            'a set of retain gradients is projected out over the whole tree: use scope="global"'
        )
