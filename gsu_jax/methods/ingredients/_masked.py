"""Losses over masked batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.models import GenerativeModel, Loss, Params, PerImage, elbo_terms


class MaskedBatch(NamedTuple):
    """Images whose rows count only where `mask` is 1: the last batch of an epoch, filled up."""

    images: jax.Array
    mask: jax.Array


def over_masked(loss: Loss) -> Loss:
    """The mean of `loss` over the unmasked rows of a `MaskedBatch`.

    Written for any loss that is a mean over images: each row is a batch of one under `vmap`, with
    a key of its own (`jax.random.split(key, rows)`), so a filled-up row changes nothing.
    """

    def masked_loss(params: Params, batch: MaskedBatch, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, len(batch.mask))
        per_image = jax.vmap(lambda image, k: loss(params, image[None], k))(batch.images, keys)
        return masked_mean(per_image, batch.mask)

    return masked_loss


def masked_mean(values: PerImage, mask: jax.Array) -> jax.Array:
    """The mean of `values` where `mask` is 1; a masked value may be anything, even NaN.

    Its gradient too, as long as the derivatives of masked values are finite: fill up with images.
    """
    return jnp.where(mask > 0, values, 0.0).sum() / jnp.maximum(mask.sum(), 1.0)


def training_loss(
    model: GenerativeModel, loss: str, through: str, *, needed_by: str = "this loss"
) -> Loss:
    """The loss that an unlearning method raises or keeps, as `loss(params, images, key)`.

    Args:
      model: the generative model.
      loss: "elbo" (the model's own training loss, with its beta) or "reconstruction" (the mean of
        -log p(x|z), z ~ q(z|x), without the KL term).
      through: "model", or "decoder": q(z|x) is held, no gradient reaches the encoder.
      needed_by: named in the error.

    Raises:
      ValueError: for another word, or a model without the fields that it needs.
    """
    for argument, value, known in (
        ("loss", loss, ("elbo", "reconstruction")),
        ("through", through, ("model", "decoder")),
    ):
        if value not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}, found {value!r}.")
    if (loss, through) == ("elbo", "model"):
        return model.loss
    model.require("encode", "decode", "log_likelihood", needed_by=needed_by)
    hold = through == "decoder"

    def chosen_loss(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        # With q(z|x) held the KL term is a constant: both losses have the same gradient.
        return elbo_terms(model, params, images, key, hold_posterior=hold).reconstruction.mean()

    return chosen_loss
