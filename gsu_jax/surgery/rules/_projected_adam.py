"""Adam whose applied step keeps the retained loss, projected in Adam's own metric."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import choice
from gsu_jax.surgery._conflict import Conflict, conflict_state, initial_conflict, measure
from gsu_jax.surgery._leaves import accumulator, like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName, pmean_gradients
from gsu_jax.surgery._projection import project_and_measure
from gsu_jax.surgery._retain_grads import retain_grads_of_step
from gsu_jax.surgery._tree_checks import Tree, When, check_gradients


class ProjectedAdamState(NamedTuple):
    """The state of Adam and the last conflict.

    Attributes:
        adam: The moments of Adam.
        conflict: The conflict of the last incoming update with the retain gradient; `projected`
            says whether a component was removed from the step.
    """

    adam: optax.ScaleByAdamState
    conflict: Conflict


def projected_adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    when: When = "always",
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam whose applied step preserves the retained loss, projected in Adam's own metric.

    With m and nu Adam's bias-corrected moments, P = sqrt(nu) + eps diagonal, s = P^-1 m its step,
    and r the retain gradient:

    .. math:: s - \frac{\langle r, s \rangle}{\langle r, P^{-1} r \rangle} P^{-1} r

    times the learning rate. Of all steps that leave the retained loss unchanged to first order,
    this one is nearest to Adam's in the norm sqrt(<x, P x>). In coordinates x' = P^(1/2) x, it is
    the plain projection of P^(1/2) s off P^(-1/2) r. By contrast, `optax.chain(optax.adam(...),
    project_conflicting(incoming="steps"))` takes the nearest step in |x|, which moves along r
    itself instead of along Adam's step for r.

    Args:
        learning_rate: A number, or a schedule.
        b1: The decay of the first moment.
        b2: The decay of the second moment.
        eps: As in `optax.adam`.
        when: "always", or "conflict": only if the step would raise the retained loss. For k retain
            gradients (a leading axis), their span or their cone.
        axis_name: As in `pcgrad`.

    Returns:
        A whole optimizer, in place of `optax.adam`, with a `ProjectedAdamState` in its state.

    Raises:
        ValueError: `when` is unknown; and from `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = projected_adam(0.1)
        >>> updates, retain = jnp.array([-1.0, 4.0]), jnp.array([2.0, 0.0])
        >>> steps, _ = optimizer.update(updates, optimizer.init(updates), retain_grads=retain)
        >>> [round(float(step), 3) for step in steps]
        [-0.0, -0.1]
    """
    choice(("always", "conflict"), when=when)
    adam = optax.scale_by_adam(b1, b2, eps)

    def init(params: Tree) -> ProjectedAdamState:
        return ProjectedAdamState(adam.init(params), initial_conflict())

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del params, extra_args
        r = retain_grads_of_step("projected_adam", updates, retain_grads)
        updates = pmean_gradients("updates", updates, axis_name)
        r = pmean_gradients("retain_grads", r, axis_name)
        conflict = measure(updates, r)
        steps, moments = adam.update(updates, state.adam)
        second = optax.tree.bias_correction(moments.nu, b2, moments.count)
        metric = jax.tree.map(lambda nu: jnp.sqrt(jnp.asarray(nu, accumulator([nu]))) + eps, second)
        steps, in_metric = _project_in_metric(steps, r, metric, when=when)
        conflict = conflict._replace(projected=in_metric.projected)
        return steps, ProjectedAdamState(moments, conflict_state(conflict))

    return optax.chain(
        optax.GradientTransformationExtraArgs(init, update),
        optax.scale_by_learning_rate(learning_rate),
    )


def _project_in_metric(
    updates: Tree, retain_grads: Tree, metric: Tree, *, when: When = "always"
) -> tuple[Tree, Conflict]:
    """Projects s = `updates` in the metric diag(`metric`), and returns the conflict in it."""
    stacked = check_gradients(updates, retain_grads)
    us, rs = widened(updates, retain_grads)
    roots = [
        jnp.sqrt(jnp.asarray(p, u.dtype)) for p, u in zip(jax.tree.leaves(metric), us, strict=True)
    ]
    scaled_us = [u * root for u, root in zip(us, roots, strict=True)]
    scaled_rs = [r / (root[None] if stacked else root) for r, root in zip(rs, roots, strict=True)]
    projected, conflict = project_and_measure(scaled_us, scaled_rs, when=when)
    # If nothing was removed, the update itself, which is not rounded there and back.
    steps = [
        jnp.where(conflict.projected, p / root, u)
        for u, p, root in zip(us, projected, roots, strict=True)
    ]
    return like_updates(updates, steps), conflict
