"""The terms of the ELBO, one number per image, and the losses that methods build from them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import scale_images
from gsu_jax.models._generative import GenerativeModel, Params

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
