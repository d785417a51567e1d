"""Products with the curvature of a loss, and damped linear systems in it; no matrix is formed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import choice
from gsu_jax.surgery import check_floating

Params = Any
Batch = Any
Tree = Any
Loss = Callable[[Params, Batch], jax.Array]
Product = Callable[[Tree], Tree]
Curvature = Literal["hessian", "gauss_newton"]


@dataclass(frozen=True)
class ComposedLoss:
    """A loss in the two parts that a Gauss-Newton product needs; itself a `loss(params, batch)`.

    Attributes:
        outputs: `outputs(params, batch) -> tree`, what the model says of the batch (for a VAE the
            logits and the posterior's mean and log-variance; with a weight penalty, the parameters
            among them).
        of_outputs: `of_outputs(outputs, batch) -> scalar`, convex in the outputs, a mean over the
            examples.
    """

    outputs: Callable[[Params, Batch], Tree]
    of_outputs: Callable[[Tree, Batch], jax.Array]

    def __call__(self, params: Params, batch: Batch) -> jax.Array:
        """The loss of a batch."""
        return self.of_outputs(self.outputs(params, batch), batch)


def hessian_product(loss: Loss, params: Params, batch: Batch) -> Product:
    """The product v -> H v, H the Hessian of `loss` in `params`: a jvp of its gradient.

    The gradient is linearised once; each product costs about one gradient more. The loss takes no
    key: fix the noise in a closure or put it in the batch.
    """
    return jax.linearize(jax.grad(lambda p: loss(p, batch)), params)[1]


def gauss_newton_product(loss: ComposedLoss, params: Params, batch: Batch) -> Product:
    """The product v -> J^T H_out J v: J of the outputs in params, H_out of the loss in the outputs.

    It is the Hessian without the term in the outputs' own second derivatives, and positive
    semi-definite wherever the loss is convex in the outputs (Schraudolph 2002).

    Raises:
        TypeError: `loss` is not a `ComposedLoss`.
    """
    if not isinstance(loss, ComposedLoss):
        raise TypeError(
            'curvature="gauss_newton" needs to know the model\'s outputs: give loss as '
            f"ComposedLoss(outputs, of_outputs); found {type(loss).__name__}"
        )
    outputs, push = jax.linearize(lambda p: loss.outputs(p, batch), params)
    pull = jax.linear_transpose(push, params)
    curve = hessian_product(loss.of_outputs, outputs, batch)
    return lambda vector: pull(curve(push(vector)))[0]


def curvature_product(curvature: Curvature, loss: Loss, params: Params, batch: Batch) -> Product:
    """The product named by `curvature`; raises ValueError for another name."""
    choice(("hessian", "gauss_newton"), curvature=curvature)
    check_floating(params, "params")
    chosen = hessian_product if curvature == "hessian" else gauss_newton_product
    return chosen(loss, params, batch)


class Solution(NamedTuple):
    """`value`: x; `residual`: |(C + damping I) x - b| / |b|, computed from x; 0 where b is zero."""

    value: Tree
    residual: jax.Array


def solve(product: Product, b: Tree, *, damping: Any, tol: Any, maxiter: Any) -> Solution:
    """Solves (C + damping I) x = b by conjugate gradients, C given by its products.

    C + damping I must be positive definite. Where it is not, the method may break down (NaN), stop
    at `maxiter` with a large residual, or solve the system all the same: x then leads to a saddle,
    and no residual says so. In float32 the residual rarely falls below 1e-6.

    Args:
        product: v -> C v.
        b: the right-hand side, a tree of the structure of x.
        damping: at least 0.
        tol: stop when the residual is at most this.
        maxiter: or after so many products.
    """

    def damped(x: Tree) -> Tree:
        return jax.tree.map(lambda c, v: c + jnp.asarray(damping, v.dtype) * v, product(x), x)

    x, _ = jax.scipy.sparse.linalg.cg(damped, b, tol=tol, maxiter=maxiter)
    size, left = optax.tree.norm(b), optax.tree.norm(optax.tree.sub(damped(x), b))
    return Solution(x, jnp.where(size == 0, 0, left / jnp.where(size == 0, 1, size)))
