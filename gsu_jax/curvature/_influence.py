r"""How training examples shape parameters and losses, to first order.

With L = 1/n sum_i l(z_i, .) the loss on the training data, theta its minimum, and H the Hessian of
L there, upweighting an example z by epsilon moves the minimum by -epsilon H^-1 grad l(z) (Koh &
Liang 2017; Bae et al. 2023, definitions 2.1 and B.1). H may be damped, may be the Gauss-Newton
matrix, and its inverse is applied by conjugate gradients. `docs/theory.md` has the derivations and
measurements.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import optax

from gsu_jax.checks import at_least
from gsu_jax.curvature._products import Curvature, KeylessLoss, curvature_product, solve
from gsu_jax.curvature._systems import check_examples, finite
from gsu_jax.models import Params
from gsu_jax.surgery import Tree


class Influence(NamedTuple):
    """An influence and the residual of its linear system.

    Attributes:
        value: A tree like the parameters, or one number per target.
        residual: |(H + damping I) x - b| / |b|. If it is above `tol`, conjugate gradients did not
            converge: use more `maxiter`, more `damping`, float64, or curvature="gauss_newton" if
            the Hessian is not positive definite.
    """

    value: Tree
    residual: jax.Array


def influence_on_params(
    loss: KeylessLoss,
    params: Params,
    data: Tree,
    examples: Tree,
    *,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    tol: float = 1e-5,
    maxiter: int = 1000,
) -> Influence:
    r"""Returns the derivative of the minimum in the weight of examples.

    If the mean loss of `examples` gets the additional weight epsilon, the minimum theta moves by:

    .. math:: \frac{d\theta}{d\epsilon} = -(H + \text{damping} \cdot I)^{-1} \nabla l

    (Bae et al. 2023, definition 2.1). With the retained data as both `data` and `examples`, this is
    one Newton step on them.

    Args:
        loss: `loss(params, batch) -> scalar`, as described in `gsu_jax.curvature`.
        params: A tree of floating-point arrays, a minimum of the loss on `data`.
        data: The training data, a tree of arrays with a leading axis. All of it is held at once;
            give a sample if that is too much.
        examples: The examples whose influence is asked for, a tree of arrays with a leading axis.
        damping: Added to the diagonal of the curvature; at least 0.
        curvature: "hessian", or "gauss_newton", which is positive semi-definite and needs a
            `gsu_jax.curvature.ComposedLoss`.
        tol: The relative residual at which to stop; float32 rarely gets below 1e-6.
        maxiter: The maximum number of products with the curvature.

    Returns:
        The influence, a tree like `params`, and the residual.

    Raises:
        ValueError: `damping` is negative, a batch is empty, `curvature` is unknown, or the result
            is not finite (under `jit`, the residual is NaN instead).
        TypeError: A leaf of `params` is not floating point; "gauss_newton" of a plain loss.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, batch):
        ...     return jnp.mean((theta - batch) ** 2)
        >>> data = jnp.array([0.0, 2.0])
        >>> float(influence_on_params(loss, jnp.array(1.0), data, data[1:]).value)
        1.0

    References:
        Koh & Liang, `Understanding Black-box Predictions via Influence Functions
        <https://arxiv.org/abs/1703.04730>`_, 2017. Bae et al., `Gradient Surgery for One-shot
        Unlearning on Generative Model <https://arxiv.org/abs/2307.04550>`_, 2023.
    """
    at_least(0, damping=damping)
    check_examples(data=data, examples=examples)
    solving = {"damping": damping, "tol": tol, "maxiter": maxiter}
    return finite(_on_params(loss, curvature, params, data, examples, **solving))


def influence_on_loss(
    loss: KeylessLoss, params: Params, data: Tree, examples: Tree, targets: Tree, **options: Any
) -> Influence:
    r"""Returns the influence of examples on the loss of each target.

    With z' a target:

    .. math:: \nabla l(z')^\top (H + \text{damping} \cdot I)^{-1} \nabla l

    (Bae et al. 2023, definition B.1). A positive influence means that the examples help z', and
    that removing them raises its loss. Upweighting them lowers it, so this is minus the derivative
    in epsilon; the paper's eq. 5 drops that sign. One linear system serves all targets.

    Args:
        loss: See `influence_on_params`.
        params: See `influence_on_params`.
        data: See `influence_on_params`.
        examples: See `influence_on_params`.
        targets: The m examples z', a tree of arrays with a leading axis.
        **options: `damping`, `curvature`, `tol` and `maxiter` of `influence_on_params`.

    Returns:
        The influences, an array [m], and the residual.

    Raises:
        ValueError: As `influence_on_params`.
        TypeError: As `influence_on_params`.

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, batch):
        ...     return jnp.mean((theta - batch) ** 2)
        >>> data = jnp.array([0.0, 2.0])
        >>> influence_on_loss(loss, jnp.array(1.0), data, data[1:], data).value.tolist()
        [-2.0, 2.0]
    """
    check_examples(targets=targets)
    moved = influence_on_params(loss, params, data, examples, **options)
    change = loss_change(loss, params, optax.tree.scale(-1.0, moved.value), targets)
    return Influence(change, moved.residual)


@partial(jax.jit, static_argnames="loss")
def loss_change(loss: KeylessLoss, params: Params, change: Tree, targets: Tree) -> jax.Array:
    """Returns how a change of parameters moves the loss of each target, to first order.

    It is grad l(z')^T change for each target z', by one forward derivative.

    Args:
        loss: See `influence_on_params`.
        params: See `influence_on_params`.
        change: A tree like `params`.
        targets: The m examples z', a tree of arrays with a leading axis.

    Returns:
        An array [m].

    Example:
        >>> import jax.numpy as jnp
        >>> def loss(theta, batch):
        ...     return jnp.mean((theta - batch) ** 2)
        >>> theta, change, targets = jnp.array(1.0), jnp.array(0.25), jnp.array([0.0, 2.0])
        >>> loss_change(loss, theta, change, targets).tolist()
        [0.5, -0.5]
    """

    def each(p: Params) -> jax.Array:
        return jax.vmap(lambda z: loss(p, jax.tree.map(lambda leaf: leaf[None], z)))(targets)

    return jax.jvp(each, (params,), (change,))[1]


@partial(jax.jit, static_argnames=("loss", "curvature"))
def _on_params(loss, curvature, params, data, examples, **solving) -> Influence:
    product = curvature_product(curvature, loss, params, data)
    ascent = optax.tree.scale(-1.0, jax.grad(loss)(params, examples))
    return Influence(*solve(product, ascent, **solving))
