"""A diffusion model as a model of latents: noise encodes an image, and the denoiser decodes it."""

from dataclasses import replace
from math import pi
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.models import GenerativeModel, Params, PerImage
from gsu_jax.models.diffusion import (
    alpha,
    like,
    low_discrepancy_times,
    sigma,
    to_data,
    to_images,
)

LIMIT = 8.0  # levels beyond it, 1.2 % at each end, count as it
NO_NOISE = -30.0  # the level at which a noisy image is the image
LEVEL_KEY = 0x67616D6D


class LatentView(NamedTuple):
    """A model of latents, and the noise levels that make it one.

    Attributes:
        model: A model with `encode`, `decode`, `log_likelihood` and `mean`.
        gamma: `[n]`, the noise levels of the images in a batch; None for a model that has an
            encoder of its own.
    """

    model: GenerativeModel
    gamma: jax.Array | None


def latent_view(model: GenerativeModel, images: jax.Array, key: jax.Array) -> LatentView:
    """A diffusion model as a model of latents for one batch, with random noise levels.

    A model with an encoder is returned as it is. For a diffusion model z is the noisy image, with
    one noise level gamma for each place in the batch:

        q(z|x) = N(alpha x, sigma^2 I),    -log p(x|z) = pi |epsilon - epsilon^(z, gamma)|^2

    epsilon^ = (z - alpha x^) / sigma is the noise that the denoiser predicts, epsilon is that which
    turns x into z. The levels are those of the cosine schedule, gamma = 2 log tan(pi t / 2) with t
    uniform. Their density is sech(gamma / 2) / 2 pi, so the mean of -log p(x|z) is the diffusion
    term of the bound with the weight sech(gamma / 2), in nats. Levels beyond -8 and 8 count as
    these, so the model must be trained between them.

    Args:
        model: A model with `encode`, `decode` and `log_likelihood`, or with `denoise`.
        images: A batch `[n, ...]`.
        key: A PRNG key.

    Returns:
        The view, for latents `[n, latent]` of this batch alone.

    Example:
        >>> model = GenerativeModel(None, None, None, denoise=lambda params, z, gamma: params * z)
        >>> view, gamma = latent_view(model, jnp.ones((4, 2, 2, 1)), jax.random.key(0))
        >>> mean, log_variance = view.encode(None, jnp.ones((4, 2, 2, 1)))
        >>> mean.shape, log_variance.shape, gamma.shape
        ((4, 4), (4, 1), (4,))

    References:
        Nichol & Dhariwal, `Improved Denoising Diffusion Probabilistic Models
        <https://arxiv.org/abs/2102.09672>`_, 2021. Kingma & Gao, `Understanding Diffusion
        Objectives as the ELBO with Simple Data Augmentation <https://arxiv.org/abs/2303.00848>`_,
        2023.
    """
    if has_latents(model):
        return LatentView(model, None)
    times = low_discrepancy_times(key, len(images))
    gamma = jnp.clip(2.0 * jnp.log(jnp.tan(0.5 * pi * times)), -LIMIT, LIMIT)
    return LatentView(at_levels(model, images.shape[1:], gamma), gamma)


def level_key(key: jax.Array) -> jax.Array:
    """A key for noise levels that leaves the other keys of a step as they are without levels."""
    return jax.random.fold_in(key, LEVEL_KEY)


def without_noise(model: GenerativeModel, image_shape: tuple[int, ...]) -> GenerativeModel:
    """A model whose latents are the images; a model with an encoder as it is."""
    if has_latents(model):
        return model
    return at_levels(model, image_shape, jnp.full(1, NO_NOISE))


def has_latents(model: GenerativeModel) -> bool:
    """Whether to use the model's own latents: it has them, or it has no `denoise`."""
    return model.denoise is None or model.has("encode", "decode", "log_likelihood", "mean")


def at_levels(
    model: GenerativeModel, image_shape: tuple[int, ...], gamma: jax.Array
) -> GenerativeModel:
    """A diffusion model as a model of latents at given noise levels, see `latent_view`.

    Args:
        model: A model with `denoise`.
        image_shape: Of one image.
        gamma: `[n]`, or `[1]` for one level.
    """

    def encode(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = to_data(images, rounded=False).reshape(len(images), -1)
        log_variance = jnp.broadcast_to(jax.nn.log_sigmoid(gamma), len(x))
        return alpha(gamma)[:, None] * x, log_variance[:, None]

    def decode(params: Params, z: jax.Array) -> jax.Array:
        noisy = z.reshape(len(z), *image_shape)
        return model.denoise(params, noisy, jnp.broadcast_to(gamma, len(z)))

    def log_likelihood(decoded: jax.Array, images: jax.Array) -> PerImage:
        error = to_data(images, rounded=False) - decoded
        error *= like(jnp.exp(-0.5 * gamma), decoded)
        return -pi * jnp.square(error).reshape(len(decoded), -1).sum(-1)

    return replace(
        model, encode=encode, decode=decode, log_likelihood=log_likelihood, mean=to_images
    )


def image_of_noise(z: jax.Array, noise: jax.Array, gamma: jax.Array) -> jax.Array:
    """The image (z - sigma noise) / alpha that `noise` turns into z; not clipped to [0, 1].

    A denoiser that draws it at z predicts `noise`.

    Args:
        z: `[n, latent]`.
        noise: `[n, ...]`, of the shape of images.
        gamma: `[n]`.
    """
    x = z.reshape(noise.shape) - like(sigma(gamma), noise) * noise
    return to_images(x / like(alpha(gamma), noise), clipped=False)
