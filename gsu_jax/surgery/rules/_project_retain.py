"""S: the retain gradient without its component along the update."""

import optax

from gsu_jax.surgery._leaves import like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._projection import project
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import combining


def project_retain(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    r"""S: the retain gradient without its component along the update.

    With u the updates and r the retain gradient, each as a single vector:

    .. math:: r - \frac{\langle r, u \rangle}{\langle u, u \rangle} u

    The forget gradient itself is not followed. Training continues on the retained images, along
    directions that leave the forget loss unchanged to first order. The sign of u does not matter.

    Args:
        axis_name: As in `pcgrad`.

    Returns:
        A transform, as `pcgrad`.

    Raises:
        ValueError: From `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = project_retain()
        >>> updates, retain = jnp.array([-1.0, 1.0]), jnp.array([2.0, 0.0])
        >>> transform.update(updates, transform.init(updates), retain_grads=retain)[0].tolist()
        [1.0, 1.0]

    References:
        Mandal & Gottwald, 2025.
    """
    return combining("project_retain", _off_updates, axis_name)


def _off_updates(updates: Tree, retain_grads: Tree) -> Tree:
    u, r = widened(updates, retain_grads)
    return like_updates(updates, project(r, u))
