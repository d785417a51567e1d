"""Selective synaptic dampening: parameters that matter to forgotten images alone shrink."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from gsu_jax.checks import above, whole
from gsu_jax.curvature import mean_squared_gradient
from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Method, Visits
from gsu_jax.models import Params


@dataclass(frozen=True)
class SynapticDampening(Method):
    """Shrinks parameters without any step: theta_i <- theta_i min(1, lambda F_i / F^f_i).

    It shrinks the parameters with F^f_i > alpha F_i. F^f and F are the mean squared derivatives of
    l at each forgotten and at each retained image: the diagonal of the empirical Fisher
    information.

    What differs: the published F is over all training images, of which the forgotten classes are a
    small part. With a share s of them forgotten, F is at least s F^f, so that alpha = 10 selects
    nothing for s >= 1/10. F over retained images alone still tells the two apart. Both are computed
    from a sample of the images, since a gradient for each image is expensive.

    Attributes:
        learning_rate, batch_size, retain_batch_size: not used; there are no steps.
        label: as in `Method`.
        threshold: alpha.
        dampening: lambda.
        fisher_images: the largest number of images drawn from each set.

    Raises:
        ValueError: `threshold` or `dampening` is not above 0, or `fisher_images` is below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> theta, forget, retain = jnp.ones(2), jnp.array([20.0, 1.0]), jnp.array([1.0, 1.0])
        >>> SynapticDampening(dampening=5.0).dampen(theta, forget, retain).tolist()
        [0.25, 1.0]

    References:
        Foster et al., `Fast Machine Unlearning Without Retraining Through Selective Synaptic
        Dampening <https://arxiv.org/abs/2308.07707>`_, 2024.
    """

    name: ClassVar[str] = "synaptic_dampening"
    visits: ClassVar[Visits] = "nothing"

    threshold: float = 10.0
    dampening: float = 1.0
    fisher_images: int = 2048

    def __post_init__(self) -> None:
        above(0, threshold=self.threshold, dampening=self.dampening)
        whole(1, fisher_images=self.fisher_images)

    def start(self, model, params, forget, retain, key) -> Params:
        """Returns the dampened parameters."""

        def fisher(images: ImageSet, key: jax.Array) -> Params:
            choice_key, loss_key = jax.random.split(key)
            some = images.draw(choice_key, self.fisher_images)
            return mean_squared_gradient(model.loss, params, some, loss_key)

        forget_key, retain_key = jax.random.split(key)
        forget_fisher, retain_fisher = fisher(forget, forget_key), fisher(retain, retain_key)
        return jax.tree.map(self.dampen, params, forget_fisher, retain_fisher)

    def dampen(self, theta: jax.Array, forget: jax.Array, retain: jax.Array) -> jax.Array:
        """The equation for one array of parameters and its two diagonals."""
        selected = forget > self.threshold * retain
        factor = self.dampening * retain / jnp.where(selected, forget, 1.0)
        return theta * jnp.where(selected, jnp.minimum(1.0, factor), 1.0).astype(theta.dtype)
