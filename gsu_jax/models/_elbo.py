"""The terms of the ELBO, one number per image in nats."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import scale_images
from gsu_jax.models._generative import GenerativeModel, Params

PerImage = jax.Array


def kl_to_standard_normal(mean: jax.Array, log_variance: jax.Array) -> PerImage:
    """KL(N(mean, exp log_variance) || N(0, I)) in nats, float32, summed over the last axis.

    1/2 sum_j (mean_j^2 + exp(log_variance_j) - 1 - log_variance_j).

    Args:
        mean: `[..., latent]`.
        log_variance: `[..., latent]`.

    Returns:
        `[...]`.

    Example:
        >>> float(kl_to_standard_normal(jnp.array([1.0, 1.0]), jnp.zeros(2)))
        1.0

    References:
        Kingma & Welling, `Auto-Encoding Variational Bayes <https://arxiv.org/abs/1312.6114>`_,
        2013, appendix B.
    """
    mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1.0 - log_variance, axis=-1)


def bernoulli_log_likelihood(logits: jax.Array, images: jax.Array) -> PerImage:
    """Log-likelihood sum_i x_i log s_i + (1 - x_i) log(1 - s_i), s = sigmoid(logits), in nats.

    Args:
        logits: `[n, ...]`, of the shape of the images.
        images: `[n, ...]`, uint8 or floating in [0, 1].

    Returns:
        `[n]` float32.

    Example:
        >>> round(float(bernoulli_log_likelihood(jnp.zeros((1, 2)), jnp.ones((1, 2)))[0]), 4)
        -1.3863
    """
    logits, images = logits.astype(jnp.float32), scale_images(images).astype(jnp.float32)
    per_pixel = images * logits - jax.nn.softplus(logits)
    return per_pixel.reshape(len(images), -1).sum(-1)


def gaussian_log_likelihood(mean: jax.Array, images: jax.Array, variance: float) -> PerImage:
    """Log-likelihood log N(x; mean, variance I), summed over pixels, in nats.

    Args:
        mean: `[n, ...]`, of the shape of the images.
        images: `[n, ...]`, uint8 or floating in [0, 1].
        variance: Variance of a pixel.

    Returns:
        `[n]` float32.

    Example:
        >>> x = jnp.ones((1, 2))
        >>> round(float(gaussian_log_likelihood(x, x, 1.0)[0]), 4)
        -1.8379
    """
    mean, images = mean.astype(jnp.float32), scale_images(images).astype(jnp.float32)
    per_pixel = -0.5 * ((images - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    return per_pixel.reshape(len(images), -1).sum(-1)


def sample_posterior(mean: jax.Array, log_variance: jax.Array, key: jax.Array) -> jax.Array:
    """A sample mean + exp(log_variance / 2) epsilon of q(z|x), with epsilon ~ N(0, I).

    Args:
        mean: `[..., latent]`.
        log_variance: `[..., latent]`.
        key: A PRNG key.

    Returns:
        z, of the shape and dtype of `mean`.
    """
    epsilon = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(0.5 * log_variance) * epsilon


class ElboTerms(NamedTuple):
    """The two terms of the negative ELBO of each image, in nats.

    Attributes:
        reconstruction: `[n]`, -log p(x|z) with one z ~ q(z|x).
        kl: `[n]`, KL(q(z|x) || N(0, I)).
    """

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
    """The two terms of the negative ELBO of each image.

    Args:
        model: A model with encode, decode and log_likelihood.
        params: Its parameters.
        images: `[n, height, width, channels]`.
        key: A PRNG key, for one sample of each posterior.
        hold_posterior: Whether to stop gradients to the encoder.

    Returns:
        `ElboTerms`.
    """
    mean, log_variance = model.encode(params, images)
    if hold_posterior:
        mean, log_variance = jax.lax.stop_gradient((mean, log_variance))
    decoded = model.decode(params, sample_posterior(mean, log_variance, key))
    return ElboTerms(
        reconstruction=-model.log_likelihood(decoded, images),
        kl=kl_to_standard_normal(mean, log_variance),
    )
