"""Nash: the bisector of both gradients, where two players bargain for the step."""

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery._inner_products import inner_products
from gsu_jax.surgery._leaves import like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import combining


def nash(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    r"""Nash: the bisector of both gradients, the solution of a bargain between two players.

    With u the updates and r the retain gradient, each as a single vector, and e_u and e_r the
    vectors of length 1 along them:

    .. math:: d = \frac{e_u + e_r}{\sqrt{1 + \cos(u, r)}}
        = \sqrt{2} \, \frac{e_u + e_r}{|e_u + e_r|}

    The utility of a player is the inner product of d with its gradient. The Nash solution
    maximizes <u, d> <r, d> over the d of one length. Where the derivative of the logarithm is a
    multiple of d,

    .. math:: d = a_u u + a_r r, \quad a_u = 1 / \langle u, d \rangle, \quad
        a_r = 1 / \langle r, d \rangle

    which is the condition G^T G a = 1 / a of the paper, with G = (u, r). For b_u = a_u |u| and
    b_r = a_r |r| it says b_u (b_u + c b_r) = 1 = b_r (b_r + c b_u), with c the cosine. Hence
    b_u = b_r = 1 / sqrt(1 + c). No program for convex problems is needed.

    The lengths of u and r do not matter, and d always has the length sqrt 2. So a large forget
    gradient cannot drown a small retain gradient, and the steps of plain SGD do not shrink.

    Args:
        axis_name: As in `pcgrad`.

    Returns:
        A transform, as `pcgrad`. If u or r is zero, d is sqrt 2 times the other unit vector. If
        they are opposite up to rounding, no d serves both, and d is zero.

    Raises:
        ValueError: From `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = nash()
        >>> updates, retain = jnp.array([0.0, 5.0]), jnp.array([2.0, 0.0])
        >>> d, _ = transform.update(updates, transform.init(updates), retain_grads=retain)
        >>> d.round(5).tolist()
        [1.0, 1.0]

    References:
        Wu & Harandi, `MUNBa: Machine Unlearning via Nash Bargaining
        <https://arxiv.org/abs/2411.15537>`_, 2025.
    """
    return combining("nash", _bisector, axis_name)


def _bisector(updates: Tree, retain_grads: Tree) -> Tree:
    us, rs = widened(updates, retain_grads)
    if not us:
        return updates
    products = jax.tree.map(jnp.squeeze, inner_products(us, rs, (0,) * len(us)))
    u_norm, r_norm = jnp.sqrt(products.update_square), jnp.sqrt(products.retain_square)
    u_scale, r_scale = products.update_scale, products.retain_scale
    u_norm, r_norm = jnp.where(u_norm == 0, 1, u_norm), jnp.where(r_norm == 0, 1, r_norm)
    both = [u * u_scale / u_norm + r * r_scale / r_norm for u, r in zip(us, rs, strict=True)]
    # Its own norm: 1 + cos would lose its digits where the gradients are nearly opposite.
    length = jnp.sqrt(sum(jnp.sum(b * b) for b in both))
    rounding = 8 * jnp.finfo(length.dtype).eps
    factor = jnp.where(length <= rounding, 0, jnp.sqrt(jnp.asarray(2, length.dtype)) / length)
    return like_updates(updates, [factor * b for b in both])
