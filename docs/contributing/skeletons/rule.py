"""NAME: one line that says what comes out.

Copy to `gsu_jax/surgery/rules/_NAME.py`. There, import `project` from
`gsu_jax.surgery._projection`, write the mathematics alone as `_skeleton(updates, retain_grads)`,
and return `combining("skeleton", _skeleton, axis_name)`. It checks both trees, averages them over
devices and records the conflict.
"""

import jax
import optax

from gsu_jax.surgery import Conflict, Tree, measure, project


def skeleton() -> optax.GradientTransformationExtraArgs:
    r"""Says what comes out: the mean of the update and its projection.

    With u the updates and r the retain gradient, each as a single vector:

    .. math:: \tfrac{1}{2} (u + \mathrm{project}(u, r))

    Returns:
        A transform whose `update` takes `retain_grads`.

    Example:
        >>> import jax.numpy as jnp
        >>> u, r = jnp.array([-1.0, 1.0]), jnp.array([1.0, 0.0])
        >>> skeleton().update(u, skeleton().init(u), retain_grads=r)[0].tolist()
        [-0.5, 1.0]

    References:
        Authors, `Title <https://arxiv.org/abs/0000.00000>`_, year.
    """

    def init(params: Tree) -> Conflict:
        return measure(params, params)

    def update(updates, state, params=None, *, retain_grads, **extra_args):
        del state, params, extra_args
        return _skeleton(updates, retain_grads), measure(updates, retain_grads)

    return optax.GradientTransformationExtraArgs(init, update)


def _skeleton(updates: Tree, retain_grads: Tree) -> Tree:
    projected = project(updates, retain_grads, when="conflict")
    return jax.tree.map(lambda u, p: (u + p) / 2, updates, projected)
