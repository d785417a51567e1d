"""Feature unlearning: the decoder draws edited latents in place of those that hold the feature."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.data import ImageSet
from gsu_jax.methods._method import Batch, Method, StepGradients
from gsu_jax.methods.ingredients import ms_ssim
from gsu_jax.models import GenerativeModel, Params, Posteriors, encode_in_parts


class Prepared(NamedTuple):
    """The frozen model, the feature's direction, and where along it the feature begins.

    Attributes:
      teacher: theta*.
      direction: e, `[latent]`, of length 1.
      threshold: t.
    """

    teacher: Params
    direction: jax.Array
    threshold: jax.Array


@dataclass(frozen=True)
class FeatureUnlearning(Method):
    """Fine-tunes the decoder g from its frozen copy f, on latents z ~ N(0, I).

        E[(1 - s) |g(z) - f(z)|_1] + alpha E[s (|g(z) - f(z_hat)|_1 + 1 - MS-SSIM(g(z), f(z_hat)))]

    Moon et al. 2023. z shows the feature where its projection passes a threshold, s = 1[e.z > t],
    and is then edited to lie on it: z_hat = z - (e.z - t) e. e points from the mean latent of the
    retained images to that of the forgotten ones; t lies midway between the projections of both. g
    and f give mean images, |.|_1 is a mean over pixels, E one over the whole batch. The encoder
    stays as it is.

    What differs: the publication labels latents by a classifier on what they generate and
    fine-tunes for 200 epochs (MNIST); here they are the encoder's means of the images, and a run is
    as many steps as one epoch over the forget set has. The images only set the direction: each step
    draws latents of its own, a batch of them.

    Attributes:
      learning_rate, batch_size: as in `Method`; an epoch's number of steps is that of its batches.
      edit_weight: alpha.
      fitted_images: retained images at most whose latents are averaged.
    """

    name: ClassVar[str] = "feature_unlearning"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "mean")

    edit_weight: float = 1.0
    fitted_images: int = 2048

    def __post_init__(self) -> None:
        if self.edit_weight < 0 or self.fitted_images < 1:
            raise ValueError(
                "edit_weight must be at least 0 and fitted_images at least 1, found "
                f"{self.edit_weight} and {self.fitted_images}."
            )

    def prepare(
        self,
        model: GenerativeModel,
        params: Params,
        forget: ImageSet,
        retain: ImageSet,
        key: jax.Array,
    ) -> Prepared:
        """Encodes forgotten images and some retained ones; e and t of their mean latents."""
        some = retain.draw(key, self.fitted_images)
        shown, not_shown = (
            Posteriors(*encode_in_parts(model, params, images), images.count).moments()[0]
            for images in (forget, some)
        )
        difference = shown - not_shown
        length = jnp.linalg.norm(difference)
        # Equal means have no direction: e = 0, and no latent lies past the threshold 0.
        direction = jnp.where(length > 0, difference / jnp.where(length > 0, length, 1.0), 0.0)
        return Prepared(params, direction, direction @ (shown + not_shown) / 2)

    def gradients(
        self, model: GenerativeModel, prepared: Prepared, params: Params, batch: Batch, key
    ) -> StepGradients:
        """The gradient of the loss above, on latents of the prior drawn for this step."""
        z = jax.random.normal(key, (len(batch.visited.mask), len(prepared.direction)))
        shown, edited = edit(z, prepared.direction, prepared.threshold)

        def draw(params: Params, z: jax.Array) -> jax.Array:
            return model.mean(model.decode(params, z)).astype(jnp.float32)

        # f(z) where the feature is not shown, f(z_hat) where it is: z_hat = z elsewhere.
        target = draw(prepared.teacher, edited)

        def loss(params: Params) -> tuple[jax.Array, dict[str, jax.Array]]:
            drawn = draw(params, z)
            difference = absolute(drawn - target).mean((1, 2, 3))
            removed = (shown * (difference + 1.0 - ms_ssim(drawn, target))).mean()
            kept = ((1.0 - shown) * difference).mean()
            return kept + self.edit_weight * removed, {"forget_loss": removed, "retain_loss": kept}

        grads, metrics = jax.grad(loss, has_aux=True)(params)
        return StepGradients(grads, None, metrics)


def edit(z: jax.Array, direction: jax.Array, threshold: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where z shows the feature, s = 1[e.z > t] `[n]`, and z moved onto the threshold there."""
    excess = z @ direction - threshold
    shown = (excess > 0).astype(z.dtype)
    return shown, z - (shown * excess)[:, None] * direction


def absolute(x: jax.Array) -> jax.Array:
    """|x|, with derivative 0 at 0 where `jnp.abs` has 1: an untouched decoder stays as it is."""
    return x * jax.lax.stop_gradient(jnp.sign(x))
