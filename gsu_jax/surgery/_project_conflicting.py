"""Gradient surgery as an optax transform."""

import optax

from gsu_jax.surgery._conflict import Conflict, conflict_state, initial_conflict
from gsu_jax.surgery._pmean_gradients import AxisName, pmean_gradients
from gsu_jax.surgery._projection import check_options, project_and_measure
from gsu_jax.surgery._retain_grads import retain_grads_of_step
from gsu_jax.surgery._tree_checks import Incoming, Tree, When


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

    To first order, a step along the result leaves the retained loss unchanged (Bae et al. 2023,
    Theorem 2.2). In a chain *before* an optimizer such as Adam, this holds for the gradient and not
    for the step that Adam makes of it. *After* the optimizer (`incoming="steps"`), it holds for the
    step. `measure_conflict` at the end of the chain shows which of the two you have.

    `update(..., retain_grads=r)` takes the retain gradient of the step. Its leaves have the shapes
    of the updates, or all of them a leading axis of length k. For k retain gradients, "always"
    removes their whole span and "conflict" takes the nearest update that raises none of their
    losses (`gsu_jax.surgery.project_cone`).

    To accumulate gradients over several calls, use `multi_steps`. In `optax.MultiSteps` the mean of
    the updates is projected off the retain gradient of the last call alone, without an error.

    Args:
        retain_grads: A fixed retain gradient; `retain_grads` of `update` takes precedence.
        when: "always" (the paper), or "conflict": only if the update would raise the retained loss
            (PCGrad); for k retain gradients, the projection onto their cone.
        scope: What counts as one vector. "global": the whole tree; "leaf": each leaf; or a tree of
            labels (or a prefix of it): leaves with equal labels.
        incoming: "gradients", or "steps" after an optimizer. Steps have the opposite sign, which
            reverses the test of "conflict"; "always" is the same for both.
        axis_name: Under `pmap` or `shard_map`, the axis over which both gradients are averaged
            before the projection, which is not linear in r. Not needed for sharded arrays under
            `jit`.

    Returns:
        A transform with the state `gsu_jax.surgery.Conflict`; read it with
        `optax.tree.get(state, "cosine")`.

    Raises:
        ValueError: An option is unknown. From `update`: there is no retain gradient, leaves do not
            match (names the leaf), `shard_map` has summed the gradients already, or k retain
            gradients meet a `scope`.
        TypeError: From `update`: a leaf is not floating point (names the leaf).

    Example:
        >>> import jax.numpy as jnp, optax
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
    check_options(when, scope, incoming)
    fixed = retain_grads

    def init(params: Tree) -> Conflict:
        del params
        return initial_conflict()

    def update(updates, state, params=None, *, retain_grads=None, **extra_args):
        del state, params, extra_args
        r = retain_grads_of_step("project_conflicting", updates, retain_grads, fixed)
        updates = pmean_gradients("updates", updates, axis_name)
        if retain_grads is not None:  # a fixed retain gradient is the same on every device
            r = pmean_gradients("retain_grads", r, axis_name)
        updates, conflict = project_and_measure(
            updates, r, when=when, scope=scope, incoming=incoming
        )
        return updates, conflict_state(conflict)

    return optax.GradientTransformationExtraArgs(init, update)
