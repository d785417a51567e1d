"""Hessian and Gauss-Newton products, the Fisher diagonal, influence functions.

A loss here is `loss(params, batch) -> scalar`, the mean over the batch of one number per example. A
weight penalty counts as part of the loss of each example. The loss takes no key. Noise belongs in a
closure, or in the batch as one key per example:

    def loss(params, batch):
        images, keys = batch
        each = jax.vmap(lambda image, key: model.loss(params, image[None], key))
        return each(images, keys).mean()

The loss must be hashable, as functions are, because the programs compiled for it are kept.
"""

from gsu_jax.curvature._fisher import mean_squared_gradient
from gsu_jax.curvature._group_removal import GroupRemoval, group_removal
from gsu_jax.curvature._influence import (
    Influence,
    influence_on_loss,
    influence_on_params,
    loss_change,
)
from gsu_jax.curvature._products import (
    ComposedLoss,
    curvature_product,
    gauss_newton_product,
    hessian_product,
)

__all__ = [
    "ComposedLoss",
    "GroupRemoval",
    "Influence",
    "curvature_product",
    "gauss_newton_product",
    "group_removal",
    "hessian_product",
    "influence_on_loss",
    "influence_on_params",
    "loss_change",
    "mean_squared_gradient",
]
