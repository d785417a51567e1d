"""Losses over masked batches, and the training loss that a method raises or keeps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import choice
from gsu_jax.data import Examples
from gsu_jax.models import GenerativeModel, Loss, Params, PerImage, elbo_terms


class MaskedBatch(NamedTuple):
    """A batch of images of which only some count: the padded last batch of an epoch.

    Attributes:
        images: `[batch, h, w, c]`, or a pytree of arrays `[batch, ...]`.
        mask: `[batch]`, 1 for an image that counts and 0 for padding.
    """

    images: Examples
    mask: jax.Array


def negative(loss: Loss) -> Loss:
    """Minus `loss`: descending it ascends `loss`.

    Example:
        >>> negative(lambda params, batch, key: params * batch)(2.0, 3.0, None)
        -6.0
    """
    return lambda params, batch, key: -loss(params, batch, key)


def over_masked(loss: Loss, model: GenerativeModel | None = None) -> Loss:
    """The mean of `loss` over the unmasked images of a `MaskedBatch`.

    `loss` must be a mean over images. Each image is a batch of one under `vmap` and has its own
    key, from `jax.random.split(key, batch)`, so padding changes nothing. If `loss` is that of a
    `model` with `per_image_loss`, this one sees the whole batch instead, and one key.

    Example:
        >>> loss = over_masked(lambda params, images, key: images.mean())
        >>> batch = MaskedBatch(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([1.0, 1.0, 0.0]))
        >>> float(loss(None, batch, jax.random.key(0)))
        2.0
    """
    whole = model.per_image_loss if model is not None and loss is model.loss else None

    def masked_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
        if whole is not None:
            return masked_mean(whole(params, batch.images, key), batch.mask)
        keys = jax.random.split(key, len(batch.mask))

        def of_one(image: Examples, key: jax.Array) -> jax.Array:
            return loss(params, jax.tree.map(lambda x: x[None], image), key)

        per_image = jax.vmap(of_one)(batch.images, keys)
        return masked_mean(per_image, batch.mask)

    return masked_loss


def masked_mean(values: PerImage, mask: jax.Array) -> jax.Array:
    """The mean of the values whose mask is 1. A masked value may be anything, even NaN.

    The gradient ignores masked values too if their derivatives are finite, so pad with images.

    Example:
        >>> float(masked_mean(jnp.array([2.0, jnp.nan]), jnp.array([1.0, 0.0])))
        2.0
    """
    return jnp.where(mask > 0, values, 0.0).sum() / jnp.maximum(mask.sum(), 1.0)


def training_loss(
    model: GenerativeModel, loss: str, through: str, *, needed_by: str = "this loss"
) -> Loss:
    """The loss that a method raises or keeps, as `loss(params, images, key)`.

    Args:
        model: the generative model.
        loss: "elbo" (the model's own training loss, with its beta) or "reconstruction" (the mean of
            -log p(x|z), z ~ q(z|x), without the KL term).
        through: "model", or "decoder": q(z|x) is fixed, and no gradient reaches the encoder.
        needed_by: what the error names.

    Raises:
        ValueError: `loss` or `through` is none of its choices, or the model lacks a needed field.
    """
    choice(("elbo", "reconstruction"), loss=loss)
    choice(("model", "decoder"), through=through)
    if (loss, through) == ("elbo", "model"):
        return model.loss
    model.require("encode", "decode", "log_likelihood", needed_by=needed_by)
    hold = through == "decoder"

    def chosen_loss(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        # With q(z|x) fixed the KL term is a constant: both losses have the same gradient.
        return elbo_terms(model, params, images, key, hold_posterior=hold).reconstruction.mean()

    return chosen_loss
