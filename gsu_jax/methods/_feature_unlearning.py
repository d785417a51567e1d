"""Feature unlearning: the decoder learns to draw a latent as if it lacked the feature."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least, whole
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import ms_ssim
from gsu_jax.models import Params, Posteriors, encode_in_parts


class Prepared(NamedTuple):
    """The frozen model, the direction of the feature, and where along it the feature begins.

    Attributes:
        teacher: theta*, the trained parameters.
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

    A latent shows the feature if its projection passes a threshold, s = 1[e.z > t]. It is then
    edited to lie on the threshold: z_hat = z - (e.z - t) e. The direction e points from the mean
    latent of the retained images to that of the forgotten ones; t is midway between the projections
    of both means. g and f give mean images, |.|_1 is a mean over pixels, and E is a mean over the
    batch. The encoder is not trained.

    What differs: the publication labels latents by a classifier on what they generate and
    fine-tunes for 200 epochs (MNIST). Here the latents are the encoder's means of the images, and a
    run has as many steps as one epoch over the forget set. The images only set the direction: each
    step draws a batch of latents.

    Attributes:
        learning_rate, batch_size, retain_batch_size, label: as in `Method`; the number of steps in
            an epoch is the number of its batches.
        edit_weight: alpha.
        fitted_images: the largest number of retained images whose latents are averaged.

    Raises:
        ValueError: `edit_weight` is below 0, or `fitted_images` is below 1.

    Example:
        >>> FeatureUnlearning(edit_weight=2.0).needs
        ('encode', 'decode', 'mean')

    References:
        Moon, Cho & Kim, `Feature Unlearning for Pre-trained GANs and VAEs
        <https://arxiv.org/abs/2303.05699>`_, 2023.
    """

    name: ClassVar[str] = "feature_unlearning"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode", "mean")

    edit_weight: float = 1.0
    fitted_images: int = 2048

    def __post_init__(self) -> None:
        at_least(0, edit_weight=self.edit_weight)
        whole(1, fitted_images=self.fitted_images)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Computes e and t from the mean latents of forgotten images and of some retained ones."""
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

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradient of the loss, on latents drawn from the prior for this step."""
        z = jax.random.normal(key, (len(batch.visited.mask), len(prepared.direction)))
        shown, edited = edit(z, prepared.direction, prepared.threshold)

        def draw(params: Params, z: jax.Array) -> jax.Array:
            return model.mean(model.decode(params, z)).astype(jnp.float32)

        # `edited` is z itself for a latent without the feature.
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
    """Returns s = 1[e.z > t] `[n]`, and z moved onto the threshold if it shows the feature."""
    excess = z @ direction - threshold
    shown = (excess > 0).astype(z.dtype)
    return shown, z - (shown * excess)[:, None] * direction


def absolute(x: jax.Array) -> jax.Array:
    """|x| with derivative 0 at 0 (`jnp.abs` has 1), so an unchanged decoder gets no gradient."""
    return x * jax.lax.stop_gradient(jnp.sign(x))
