"""Hessian and Gauss-Newton products, the Fisher diagonal, influence functions."""

from gsu_jax.curvature._fisher import mean_squared_gradient
from gsu_jax.curvature._influence import (
    GroupRemoval,
    Influence,
    group_removal,
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
