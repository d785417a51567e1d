"""Barrier: descent on the retained loss that must also lower the forget loss by a margin."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import at_least, choice
from gsu_jax.surgery._inner_products import inner_products
from gsu_jax.surgery._leaves import like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import combining

Form = Literal["cosine", "bome"]


def barrier(
    eta: float = 0.1, *, form: Form = "cosine", axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Barrier: adds as much of the updates to the retain gradient as a constraint asks for.

    With u the updates and r the retain gradient, each as a single vector:

    .. math:: d = r + \lambda u, \quad
        \lambda = \max\left(0, \eta - \frac{\langle r, u \rangle}{|r| \, |u|}\right)

    This is the form of the authors of EraseDiff. In the form "bome" the denominator is <u, u>.
    That d is the vector nearest to r with <u, d> >= eta <u, u>, so that a small step lowers the
    forget loss. With the cosine this holds if |u| = |r|; its lambda stays between 0 and 1 + eta for
    gradients of any length. Where u and r agree enough, lambda is 0 and d is r.

    Args:
        eta: How much the forget loss has to fall; at least 0.
        form: "cosine", or "bome" (Ye et al. 2022).
        axis_name: As in `pcgrad`.

    Returns:
        A transform, as `pcgrad`. If r is zero, the result is eta u; if u is zero, it is r.

    Raises:
        ValueError: `eta` is below 0, `form` is unknown; and from `update`, as
            `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = barrier(eta=0.4)
        >>> updates, retain = jnp.array([-1.0, 0.0]), jnp.array([3.0, 4.0])
        >>> d, _ = transform.update(updates, transform.init(updates), retain_grads=retain)
        >>> d.round(3).tolist()  # the cosine is -0.6, lambda is 1
        [2.0, 4.0]

    References:
        Wu et al., `Erasing Undesirable Influence in Diffusion Models
        <https://arxiv.org/abs/2401.05779>`_, 2025. Ye et al., `BOME! Bilevel Optimization Made Easy
        <https://arxiv.org/abs/2209.08709>`_, 2022.
    """
    at_least(0, eta=eta)
    choice(("cosine", "bome"), form=form)
    return combining("barrier", partial(_with_margin, eta=eta, form=form), axis_name)


def _with_margin(updates: Tree, retain_grads: Tree, eta: float, form: Form) -> Tree:
    us, rs = widened(updates, retain_grads)
    if not us:
        return updates
    products = jax.tree.map(jnp.squeeze, inner_products(us, rs, (0,) * len(us)))
    u_norm, r_norm = jnp.sqrt(products.update_square), jnp.sqrt(products.retain_square)
    both = u_norm * (r_norm if form == "cosine" else u_norm)
    share = products.dot / jnp.where(both == 0, 1, both)
    if form == "bome":
        share *= products.update_scale / products.retain_scale
    weight = jnp.maximum(eta - share, 0)
    return like_updates(updates, [r + weight * u for u, r in zip(us, rs, strict=True)])
