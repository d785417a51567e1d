"""The terms of the ELBO, one number per image, and the losses that methods build from them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.generative import GenerativeModel, Params, scale_images

PerImage = jax.Array


def kl_to_standard_normal(mean: jax.Array, log_variance: jax.Array) -> PerImage:
    """KL(N(mean, exp log_variance) || N(0, I)) in nats, summed over the last axis, float32.

    1/2 sum_j (mean_j^2 + exp(log_variance_j) - 1 - log_variance_j), Kingma & Welling 2013, app. B.
    """
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1.0 - log_variance, axis=-1)


def bernoulli_log_likelihood(logits: jax.Array, images: jax.Array) -> PerImage:
    """Sum over pixels of x log s + (1 - x) log(1 - s), s = sigmoid(logits), in nats, float32."""
    logits, images = logits.astype(jnp.float32), scale_images(images).astype(jnp.float32)
    per_pixel = images * logits - jax.nn.softplus(logits)
    return per_pixel.reshape(len(images), -1).sum(-1)


def gaussian_log_likelihood(mean: jax.Array, images: jax.Array, variance: float) -> PerImage:
    """Log N(x; mean, variance I), summed over pixels, in nats, float32."""
    mean, images = mean.astype(jnp.float32), scale_images(images).astype(jnp.float32)
    per_pixel = -0.5 * ((images - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    return per_pixel.reshape(len(images), -1).sum(-1)


def sample_posterior(mean: jax.Array, log_variance: jax.Array, key: jax.Array) -> jax.Array:
    """A sample of q(z|x): mean + exp(log_variance / 2) epsilon, epsilon ~ N(0, I)."""
    epsilon = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(0.5 * log_variance) * epsilon


class ElboTerms(NamedTuple):
    """Per image: `reconstruction` = -log p(x|z) with one z ~ q(z|x), and `kl`; both in nats."""

    reconstruction: PerImage
    kl: PerImage


def elbo_terms(
    model: GenerativeModel,
    params: Params,
    images: jax.Array,
    key: jax.Array,
    *,
    hold_posterior: bool = False,
) -> ElboTerms:
    """The two terms of the negative ELBO; with `hold_posterior` no gradient reaches the encoder."""
    mean, log_variance = model.encode(params, images)
    if hold_posterior:
        mean, log_variance = jax.lax.stop_gradient((mean, log_variance))
    decoded = model.decode(params, sample_posterior(mean, log_variance, key))
    return ElboTerms(
        reconstruction=-model.log_likelihood(decoded, images),
        kl=kl_to_standard_normal(mean, log_variance),
    )


Loss = Callable[[Params, Any, jax.Array], jax.Array]


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
