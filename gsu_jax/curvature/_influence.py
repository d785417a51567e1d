r"""How training examples shape parameters and losses, to first and second order.

With L = 1/n sum_i l(z_i, .) the loss on the training data, theta its minimum and H the Hessian of L
there, upweighting z by epsilon moves the minimum by -epsilon H^-1 grad l(z) (Koh & Liang 2017; Bae
et al. 2023, definitions 2.1 and B.1). Here H may be damped and may be the Gauss-Newton matrix, and
H^-1 is applied by conjugate gradients. `docs/theory.md` has the derivations and what was measured.

A loss here is `loss(params, batch) -> scalar`, the mean over the batch of one number per example (a
weight penalty counts as part of each example's), and takes no key: noise belongs into a closure,
or into the batch as one key per example:

    def loss(params, batch):
        images, keys = batch
        each = jax.vmap(lambda image, key: model.loss(params, image[None], key))
        return each(images, keys).mean()

It must be hashable, as functions are: what is compiled for it is kept.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.curvature._products import (
    Batch,
    Curvature,
    Loss,
    Params,
    Solution,
    curvature_product,
    solve,
)

Tree = Any


class Influence(NamedTuple):
    """An influence and how well its linear system was solved.

    Attributes:
        value: a tree like the parameters, or one number per target.
        residual: |(H + damping I) x - b| / |b|. Above the `tol` asked for, conjugate gradients did
            not converge: more `maxiter`, more `damping`, float64, or curvature="gauss_newton" where
            the Hessian is not positive definite.
    """

    value: Tree
    residual: jax.Array


class GroupRemoval(NamedTuple):
    """What removing a group does to the parameters.

    Attributes:
        first: the first-order term, a tree like the parameters.
        second: the second-order term, or None with order=1.
        residual: the larger one of the two linear systems; see `Influence`.
    """

    first: Tree
    second: Tree | None
    residual: jax.Array

    @property
    def change(self) -> Tree:
        """The predicted theta without the group, less theta: the sum of the terms."""
        return self.first if self.second is None else optax.tree.add(self.first, self.second)


def influence_on_params(
    loss: Loss,
    params: Params,
    data: Batch,
    examples: Batch,
    *,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    tol: float = 1e-5,
    maxiter: int = 1000,
) -> Influence:
    """The derivative d theta / d epsilon = -(H + damping I)^-1 grad l(examples), Def. 2.1.

    How the minimum moves as `examples`, by their mean loss, get the additional weight epsilon.
    With the retained data as both `data` and `examples` it is one Newton step on them.

    Args:
        loss: `loss(params, batch)`, see the head of this module.
        params: a tree of floating-point arrays, a minimum of the loss on `data`.
        data: the training data, a tree of arrays with a leading axis. One pass holds all of it:
            give a sample of it where that is too much.
        examples: the same for the examples whose influence is asked for.
        damping: added to the diagonal of the curvature; at least 0.
        curvature: "hessian", or "gauss_newton" (positive semi-definite; `loss` is then a
            `gsu_jax.curvature.ComposedLoss`).
        tol: the relative residual to reach; float32 rarely gets below 1e-6.
        maxiter: products with the curvature at most.

    Returns:
        The influence, a tree like `params`, and the residual.

    Raises:
        ValueError: negative damping, empty examples, another `curvature`, or a result that is not
            finite (not under `jit`, where the residual is NaN).
        TypeError: a leaf of `params` is not floating point; "gauss_newton" of a plain loss.
    """
    _check(damping, data=data, examples=examples)
    solving = {"damping": damping, "tol": tol, "maxiter": maxiter}
    return _finite(_on_params(loss, curvature, params, data, examples, **solving))


def influence_on_loss(
    loss: Loss, params: Params, data: Batch, examples: Batch, targets: Batch, **options: Any
) -> Influence:
    """The influence grad l(z')^T (H + damping I)^-1 grad l(examples) on each target z', Def. B.1.

    Positive: the examples help z', and to remove them raises its loss (an upweighting lowers it, so
    this is minus the derivative in epsilon; the paper's eq. 5 drops that sign). One linear system
    serves all targets.

    Args:
        loss: see `influence_on_params`.
        params: see `influence_on_params`.
        data: see `influence_on_params`.
        examples: see `influence_on_params`.
        targets: m examples z', a tree of arrays with a leading axis.
        **options: damping, curvature, tol, maxiter of `influence_on_params`.

    Returns:
        The influences, an array [m], and the residual; raises as `influence_on_params`.
    """
    _check(0.0, targets=targets)
    moved = influence_on_params(loss, params, data, examples, **options)
    change = loss_change(loss, params, optax.tree.scale(-1.0, moved.value), targets)
    return Influence(change, moved.residual)


def group_removal(
    loss: Loss,
    params: Params,
    data: Batch,
    group: Batch,
    *,
    order: int = 1,
    third_derivative: bool = False,
    damping: float = 0.0,
    curvature: Curvature = "hessian",
    tol: float = 1e-5,
    maxiter: int = 1000,
) -> GroupRemoval:
    """What leaving out a group U, a fraction p of the training data, does to the parameters.

    With q = p / (1 - p), L_U the mean loss over U and H_U its curvature, the loss without U is
    L + q (L - L_U); its minimum, expanded in q (Basu, You & Feizi 2020; docs/theory.md):

        first  = q H^-1 grad (L_U - L)     (grad L = 0 at a minimum: 1/(1-p) 1/n sum_U H^-1 grad l)
        second = -q (I - H^-1 H_U) first - 1/2 H^-1 D^3 L[first, first]

    The last term, the loss's third derivative, is left out unless asked for, as Basu et al. do.
    With damping H^-1 is (H + damping I)^-1: the exact expansion of the loss plus a pull of
    damping / 2 |theta - params|^2 towards the given parameters.

    Args:
        loss: see `influence_on_params`.
        params: see `influence_on_params`.
        data: see `influence_on_params`; it holds the group.
        group: the examples to leave out, fewer than `data`.
        order: 1, or 2.
        third_derivative: with order 2, keep its term; the error is then of order p^3.
        damping: see `influence_on_params`.
        curvature: see `influence_on_params`; of the group too.
        tol: see `influence_on_params`.
        maxiter: see `influence_on_params`.

    Raises:
        ValueError: another order, a group as large as the data; and as `influence_on_params`.
    """
    _check(damping, data=data, group=group)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2; got {order!r}")
    n, removed = _length(data), _length(group)
    if removed >= n:
        raise ValueError(
            f"group has {removed} examples and data {n}: nothing would be left; data is the whole "
            "training data, the group in it"
        )
    solving = {"odds": removed / (n - removed), "damping": damping, "tol": tol, "maxiter": maxiter}
    kind = (loss, curvature, order, third_derivative)
    return _finite(_on_removal(*kind, params, data, group, **solving))


@partial(jax.jit, static_argnames="loss")
def loss_change(loss: Loss, params: Params, change: Tree, targets: Batch) -> jax.Array:
    """How a change of parameters moves each target's loss: grad l(z')^T change, an array [m].

    To first order; one forward derivative, no gradient per target.
    """

    def each(p: Params) -> jax.Array:
        return jax.vmap(lambda z: loss(p, jax.tree.map(lambda leaf: leaf[None], z)))(targets)

    return jax.jvp(each, (params,), (change,))[1]


@partial(jax.jit, static_argnames=("loss", "curvature"))
def _on_params(loss, curvature, params, data, examples, **solving) -> Influence:
    product = curvature_product(curvature, loss, params, data)
    ascent = optax.tree.scale(-1.0, jax.grad(loss)(params, examples))
    return Influence(*solve(product, ascent, **solving))


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


def _length(batch: Batch) -> int:
    leaves = jax.tree.leaves(batch)
    return jnp.shape(leaves[0])[0] if leaves and jnp.ndim(leaves[0]) else 0


def _check(damping: Any, **batches: Batch) -> None:
    if not isinstance(damping, jax.core.Tracer) and not damping >= 0:
        raise ValueError(f"damping must be at least 0; got {damping}")
    for name, batch in batches.items():
        if _length(batch) == 0:
            raise ValueError(f"{name} holds no examples; give arrays with a leading axis of them")


def _finite(result: Any) -> Any:
    """`result` as it is, or ValueError where its residual is not finite (and known)."""
    known = not isinstance(result.residual, jax.core.Tracer)
    if known and not np.isfinite(result.residual):
        raise ValueError(
            "the influence is not finite: at params the loss, its gradient or its curvature is NaN "
            "or infinite, or the curvature is not positive definite; look at loss(params, data), "
            'add damping, or use curvature="gauss_newton"'
        )
    return result
