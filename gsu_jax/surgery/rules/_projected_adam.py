"""Adam whose applied step keeps the retained loss, projected in Adam's own metric."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import choice
from gsu_jax.surgery._cone import project_set_and_measure
from gsu_jax.surgery._conflict import (
    Conflict,
    ProjectConflictingState,
    conflict_state,
    measure,
    no_conflict,
)
from gsu_jax.surgery._inner_products import accumulator
from gsu_jax.surgery._pmean import AxisName, average
from gsu_jax.surgery._projection import project_and_measure
from gsu_jax.surgery._retain_grads import mean_retain_grads, retain_grads_of_step
from gsu_jax.surgery._tree_checks import (
    Tree,
    When,
    check_floating,
    check_same_structure,
    is_stacked,
)


class ProjectedAdamState(NamedTuple):
    """The state of Adam.

    Attributes:
        adam: its moments.
        conflict: of the last step's incoming update and retain gradient; `projected`: whether
            anything was taken out of its step.
    """

    adam: optax.ScaleByAdamState
    conflict: ProjectConflictingState


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
    choice(("always", "conflict"), when=when)
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


def project_in_metric(
    updates: Tree, retain_grads: Tree, preconditioner: Tree, *, when: When = "always"
) -> Tree:
    """Takes out of a preconditioned update what changes the retained loss, in the metric of P.

    With s = P^-1 a the preconditioned update, r the retain gradient and P > 0 diagonal:

        s - (<r, s> / <r, P^-1 r>) P^-1 r

    has no inner product with r, and of all such vectors is the one nearest to s by the norm
    sqrt(<x, P x>) in which the optimiser itself moves. In coordinates x' = P^(1/2) x it is the
    plain projection: of P^(1/2) s on P^(-1/2) r.

    Args:
        updates: s, a tree of floating-point arrays in the descent convention.
        retain_grads: the same structure and shapes, or all leaves with a leading axis of length k.
        preconditioner: the diagonal of P, of the shapes of `updates`: for Adam sqrt(nu) + epsilon.
        when: "always", or "conflict": only where <s, r> < 0; of k gradients, onto their cone.

    Returns:
        The projected tree, as `project` does.

    Raises:
        ValueError: structures or shapes differ (names the leaf), unknown `when`.
        TypeError: a leaf is not floating point (names the leaf).
    """
    return project_in_metric_and_measure(updates, retain_grads, preconditioner, when=when)[0]


def project_in_metric_and_measure(
    updates: Tree, retain_grads: Tree, preconditioner: Tree, *, when: When = "always"
) -> tuple[Tree, Conflict]:
    """Returns `project_in_metric(...)` and the `Conflict` before it, measured in the metric."""
    check_floating(updates, "updates")
    check_floating(retain_grads, "retain_grads")
    check_same_structure(updates, retain_grads)
    stacked = is_stacked(updates, retain_grads)
    dtype = accumulator([*jax.tree.leaves(updates), *jax.tree.leaves(retain_grads)])
    roots = jax.tree.map(lambda p: jnp.sqrt(jnp.asarray(p, dtype)), preconditioner)
    u = jax.tree.map(lambda s, root: jnp.asarray(s, dtype) * root, updates, roots)
    r = jax.tree.map(
        lambda r, root: jnp.asarray(r, dtype) / (root[None] if stacked else root),
        retain_grads,
        roots,
    )
    chosen = project_set_and_measure if stacked else project_and_measure
    projected, conflict = chosen(u, r, when=when)

    def back(s, p, root):
        # Where nothing was taken out, the update itself: not rounded there and back.
        kept = jnp.asarray(s, dtype)
        return jnp.where(conflict.projected, p / root, kept).astype(jnp.result_type(s))

    return jax.tree.map(back, updates, projected, roots), conflict
