"""Products with the curvature of a loss, and damped linear systems in it; no matrix is formed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import choice
from gsu_jax.models import Params
from gsu_jax.surgery import Tree, check_floating

# loss(params, batch) -> scalar; see `gsu_jax.curvature`
KeylessLoss = Callable[[Params, Tree], jax.Array]
Product = Callable[[Tree], Tree]
Curvature = Literal["hessian", "gauss_newton"]


@dataclass(frozen=True)
class ComposedLoss:
    """A loss in the two parts that a Gauss-Newton product needs; itself a `loss(params, batch)`.

    Attributes:
        outputs: `outputs(params, batch) -> tree`, the outputs of the model. For a VAE: the logits
            and the mean and log-variance of the posterior; with a weight penalty, the parameters
            too.
        of_outputs: `of_outputs(outputs, batch) -> scalar`, convex in the outputs, a mean over the
            examples.

    Example:
        >>> import jax.numpy as jnp
        >>> def squared_error(predicted, batch):
        ...     return jnp.mean((predicted - batch["y"]) ** 2)
        >>> loss = ComposedLoss(lambda params, batch: batch["x"] @ params, squared_error)
        >>> float(loss(jnp.ones(2), {"x": jnp.eye(2), "y": jnp.zeros(2)}))
        1.0
    """

    outputs: Callable[[Params, Tree], Tree]
    of_outputs: Callable[[Tree, Tree], jax.Array]

    def __call__(self, params: Params, batch: Tree) -> jax.Array:
        """Returns the loss of a batch."""
        return self.of_outputs(self.outputs(params, batch), batch)


def hessian_product(loss: KeylessLoss, params: Params, batch: Tree) -> Product:
    """Returns the product v -> H v, with H the Hessian of `loss` at `params`.

    The gradient is linearized once. Each product costs about one gradient.

    Args:
        loss: `loss(params, batch) -> scalar`.
        params: A tree of floating-point arrays.
        batch: A tree of arrays with a leading axis.

    Returns:
        A function from a tree like `params` to a tree like `params`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, batch):
        ...     return jnp.mean(batch) * jnp.sum(params**3)
        >>> product = hessian_product(loss, jnp.array([1.0, 2.0]), jnp.ones(1))
        >>> product(jnp.ones(2)).tolist()
        [6.0, 12.0]
    """
    return jax.linearize(jax.grad(lambda p: loss(p, batch)), params)[1]


def gauss_newton_product(loss: ComposedLoss, params: Params, batch: Tree) -> Product:
    r"""Returns the product with the Gauss-Newton matrix of a loss.

    With J the Jacobian of the outputs in the parameters and H the Hessian of the loss in the
    outputs:

    .. math:: v \mapsto J^\top H J v

    It is the Hessian without the second derivatives of the outputs. If the loss is convex in the
    outputs, it is positive semi-definite.

    Args:
        loss: The loss in two parts.
        params: A tree of floating-point arrays.
        batch: A tree of arrays with a leading axis.

    Returns:
        A function from a tree like `params` to a tree like `params`.

    Raises:
        TypeError: `loss` is not a `ComposedLoss`.

    Example:
        >>> import jax.numpy as jnp
        >>> def squared_error(predicted, batch):
        ...     return jnp.sum((predicted - batch) ** 2)
        >>> loss = ComposedLoss(lambda params, batch: params**2, squared_error)
        >>> gauss_newton_product(loss, jnp.array([3.0]), jnp.zeros(1))(jnp.ones(1)).tolist()
        [72.0]

    References:
        Schraudolph, Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, 2002.
    """
    if not isinstance(loss, ComposedLoss):
        raise TypeError(
            'curvature="gauss_newton" needs the outputs of the model: give loss as '
            f"ComposedLoss(outputs, of_outputs), got {type(loss).__name__}"
        )
    outputs, push = jax.linearize(lambda p: loss.outputs(p, batch), params)
    pull = jax.linear_transpose(push, params)
    curve = hessian_product(loss.of_outputs, outputs, batch)
    return lambda vector: pull(curve(push(vector)))[0]


def curvature_product(
    curvature: Curvature, loss: KeylessLoss, params: Params, batch: Tree
) -> Product:
    """Returns `hessian_product` or `gauss_newton_product`, as named by `curvature`.

    Args:
        curvature: "hessian" or "gauss_newton".
        loss: `loss(params, batch) -> scalar`; for "gauss_newton", a `ComposedLoss`.
        params: A tree of floating-point arrays.
        batch: A tree of arrays with a leading axis.

    Returns:
        A function from a tree like `params` to a tree like `params`.

    Raises:
        ValueError: `curvature` is unknown.
        TypeError: A leaf of `params` is not floating point; "gauss_newton" of a plain loss.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(params, batch):
        ...     return jnp.mean(batch) * jnp.sum(params**3)
        >>> product = curvature_product("hessian", loss, jnp.array([1.0]), jnp.ones(1))
        >>> product(jnp.ones(1)).tolist()
        [6.0]
    """
    choice(("hessian", "gauss_newton"), curvature=curvature)
    check_floating(params, "params")
    chosen: Callable[..., Product] = (
        hessian_product if curvature == "hessian" else gauss_newton_product
    )
    return chosen(loss, params, batch)


class Solution(NamedTuple):
    """The solution of a linear system.

    Attributes:
        value: x.
        residual: |(C + damping I) x - b| / |b|, computed from x; 0 if b is zero.
    """

    value: Tree
    residual: jax.Array


def solve(product: Product, b: Tree, *, damping: Any, tol: Any, maxiter: Any) -> Solution:
    """Solves (C + damping I) x = b by conjugate gradients, with C given by its products.

    C + damping I must be positive definite. If it is not, the method may break down (NaN), stop at
    `maxiter` with a large residual, or solve the system anyway. In the last case, x leads to a
    saddle, and the residual does not show it. In float32, the residual rarely falls below 1e-6.

    Args:
        product: v -> C v.
        b: The right-hand side, a tree with the structure of x.
        damping: At least 0.
        tol: The residual at which to stop.
        maxiter: The number of products at which to stop.
    """

    def damped(x: Tree) -> Tree:
        return jax.tree.map(lambda c, v: c + jnp.asarray(damping, v.dtype) * v, product(x), x)

    x, _ = jax.scipy.sparse.linalg.cg(damped, b, tol=tol, maxiter=maxiter)
    size, left = optax.tree.norm(b), optax.tree.norm(optax.tree.sub(damped(x), b))
    return Solution(x, jnp.where(size == 0, 0, left / jnp.where(size == 0, 1, size)))
