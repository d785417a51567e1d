"""PCGrad: both gradients, each projected off the other if they conflict, and added."""

import optax

from gsu_jax.surgery._leaves import like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._projection import project
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import combining


def pcgrad(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    r"""PCGrad for two tasks: projects u and r off each other if they conflict, and adds them.

    With u the updates and r the retain gradient, each as a single vector, if <u, r> < 0:

    .. math::
        \left(u - \frac{\langle u, r \rangle}{\langle r, r \rangle} r\right)
        + \left(r - \frac{\langle r, u \rangle}{\langle u, u \rangle} u\right)

    and u + r otherwise. PCGrad also descends the retained loss, so it needs no
    `add_retain_gradient`.

    Args:
        axis_name: Under `pmap` or `shard_map`, the axis over which both gradients are averaged.

    Returns:
        A transform with the state `gsu_jax.surgery.Conflict`; `projected` says whether the two
        gradients conflict. `update` takes `retain_grads`; of a set with a leading axis, the mean.

    Raises:
        ValueError: From `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = pcgrad()
        >>> updates, retain = jnp.array([-1.0, 1.0]), jnp.array([2.0, 0.0])
        >>> transform.update(updates, transform.init(updates), retain_grads=retain)[0].tolist()
        [1.0, 2.0]

    References:
        Yu et al., `Gradient Surgery for Multi-Task Learning <https://arxiv.org/abs/2001.06782>`_,
        2020.
    """
    return combining("pcgrad", _project_both, axis_name)


def _project_both(updates: Tree, retain_grads: Tree) -> Tree:
    u, r = widened(updates, retain_grads)
    both = zip(project(u, r, when="conflict"), project(r, u, when="conflict"), strict=True)
    return like_updates(updates, [a + b for a, b in both])
