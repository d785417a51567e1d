"""Selective synaptic dampening: weights that matter to the forgotten alone are made smaller."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gsu_jax.curvature import mean_squared_gradient
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method
from gsu_jax.models import GenerativeModel, Params


@dataclass(frozen=True)
class SynapticDampening(Method):
    """theta_i <- theta_i min(1, lambda F_i / F^f_i) where F^f_i > alpha F_i; no steps.

    F^f and F are the mean squared derivatives of l, image by image, over forgotten and over
    retained images: the diagonal of the empirical Fisher information.

    Foster et al. 2024 (https://arxiv.org/abs/2308.07707). What differs: published is F over all
    training images, for forgotten classes that are a small part of them. With a share s of the
    images forgotten F is at least s F^f, so that alpha = 10 would select nothing from s = 1/10 on;
    over retained images alone it goes on telling the two apart. The sets are drawn from
    (`fisher_images`), as a gradient for each image is dear.

    Attributes:
      threshold: alpha.
      dampening: lambda.
      fisher_images: of each set at most, drawn without replacement, at batches of one.
    """

    name: ClassVar[str] = "synaptic_dampening"
    visits: ClassVar[Literal["forget", "retain", "nothing"]] = "nothing"

    threshold: float = 10.0
    dampening: float = 1.0
    fisher_images: int = 2048

    def __post_init__(self) -> None:
        if min(self.threshold, self.dampening) <= 0:
            raise ValueError(
                "threshold and dampening must be above 0, found "
                f"{self.threshold} and {self.dampening}."
            )
        if self.fisher_images < 1:
            raise ValueError(f"fisher_images must be at least 1, found {self.fisher_images}.")

    def start(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Params:
        """The dampened parameters."""

        def fisher(images: ImageSet, key: jax.Array) -> Params:
            choice_key, loss_key = jax.random.split(key)
            some = images.draw(choice_key, self.fisher_images)
            return mean_squared_gradient(model.loss, params, some, loss_key)

        forget_key, retain_key = jax.random.split(key)
        forget_fisher, retain_fisher = fisher(forget, forget_key), fisher(retain, retain_key)
        return jax.tree.map(self.dampen, params, forget_fisher, retain_fisher)

    def dampen(self, theta: jax.Array, forget: jax.Array, retain: jax.Array) -> jax.Array:
        """The equation, for one array and its two diagonals."""
        selected = forget > self.threshold * retain
        factor = self.dampening * retain / jnp.where(selected, forget, 1.0)
        return theta * jnp.where(selected, jnp.minimum(1.0, factor), 1.0).astype(theta.dtype)
