"""What removing a group of training examples does to the parameters, to second order."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import at_least
from gsu_jax.curvature._products import (
    Curvature,
    KeylessLoss,
    Solution,
    curvature_product,
    solve,
)
from gsu_jax.curvature._systems import check_examples, finite, length
from gsu_jax.models import Params
from gsu_jax.surgery import Tree


class GroupRemoval(NamedTuple):
    """The effect of removing a group on the parameters.

    Attributes:
        first: The first-order term, a tree like the parameters.
        second: The second-order term, or None with order=1.
        residual: The larger residual of the two linear systems; see `Influence`.
    """

    first: Tree
    second: Tree | None
    residual: jax.Array

    @property
    def change(self) -> Tree:
        """The predicted theta without the group, minus theta: the sum of the terms."""
        return self.first if self.second is None else optax.tree.add(self.first, self.second)


def group_removal(
    loss: KeylessLoss,
    params: Params,
    data: Tree,
    group: Tree,
    *,
    order: int = 1,
    third_derivative: bool = False,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    tol: float = 1e-5,
    maxiter: int = 1000,
) -> GroupRemoval:
    r"""Returns how the parameters change if a group is left out of the training data.

    The group U is a fraction p of the data, L_U its mean loss and H_U its curvature. With
    q = p / (1 - p), the loss without U is L + q (L - L_U). Its minimum, expanded in q:

    .. math::
        \text{first} &= q H^{-1} \nabla (L_U - L) \\
        \text{second} &= -q (I - H^{-1} H_U) \, \text{first}
            - \tfrac{1}{2} H^{-1} D^3 L[\text{first}, \text{first}]

    At a minimum grad L = 0, and the first term is 1 / (1 - p) 1/n sum_U H^-1 grad l. The term with
    the third derivative is left out unless requested, as in the paper. With damping, H^-1 is
    (H + damping I)^-1, which is the exact expansion of the loss plus
    damping / 2 |theta - params|^2.

    Args:
        loss: See `influence_on_params`.
        params: See `influence_on_params`.
        data: See `influence_on_params`; it includes the group.
        group: The examples to leave out, fewer than `data`.
        order: 1 or 2.
        third_derivative: With order 2, whether to keep its term; the error is then of order p^3.
        damping: See `influence_on_params`.
        curvature: See `influence_on_params`; applies to the group too.
        tol: See `influence_on_params`.
        maxiter: See `influence_on_params`.

    Returns:
        The terms, and the larger residual.

    Raises:
        ValueError: `order` is neither 1 nor 2, the group is as large as the data; and as
            `influence_on_params`.
        TypeError: As `influence_on_params`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, batch):
        ...     return jnp.mean((theta - batch) ** 2)
        >>> data = jnp.array([0.0, 1.0, 2.0])
        >>> float(group_removal(loss, jnp.array(1.0), data, data[2:]).change)
        -0.5

    References:
        Basu, You & Feizi, `On Second-Order Group Influence Functions for Black-Box Predictions
        <https://arxiv.org/abs/1911.00418>`_, 2020.
    """
    at_least(0, damping=damping)
    check_examples(data=data, group=group)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    n, removed = length(data), length(group)
    if removed >= n:
        raise ValueError(
            f"group must be smaller than data, got {removed} of {n} examples; data is the whole "
            "training data, including the group"
        )
    solving = {"odds": removed / (n - removed), "damping": damping, "tol": tol, "maxiter": maxiter}
    kind = (loss, curvature, order, third_derivative)
    return finite(_on_removal(*kind, params, data, group, **solving))


@partial(jax.jit, static_argnames=("loss", "curvature", "order", "third_derivative"))
def _on_removal(
    loss, curvature, order, third_derivative, params, data, group, *, odds, **solving
) -> GroupRemoval:
    product = curvature_product(curvature, loss, params, data)

    def inverse(b: Tree) -> Solution:
        return solve(product, b, **solving)

    def scaled_difference(a: Tree, b: Tree) -> Tree:
        return optax.tree.scale(odds, optax.tree.sub(a, b))

    gradient = jax.grad(loss)
    first = inverse(scaled_difference(gradient(params, group), gradient(params, data)))
    if order == 1:
        return GroupRemoval(first.value, None, first.residual)
    of_group = curvature_product(curvature, loss, params, group)
    bend = scaled_difference(of_group(first.value), product(first.value))
    if third_derivative:

        def along_first(p: Params) -> Tree:
            return jax.jvp(lambda p: gradient(p, data), (p,), (first.value,))[1]

        turn = jax.jvp(along_first, (params,), (first.value,))[1]
        bend = optax.tree.add_scale(bend, -0.5, turn)
    second = inverse(bend)
    return GroupRemoval(first.value, second.value, jnp.maximum(first.residual, second.residual))
