"""The three terms of the variational bound of a diffusion model, and its weightings."""

from collections.abc import Callable
from math import log, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.models._diffusion_configs import DiffusionConfig
from gsu_jax.models._elbo import PerImage
from gsu_jax.models.diffusion._noise import add_noise, alpha, like, sigma
from gsu_jax.models.diffusion._pixels import log_probability

Denoise = Callable[[jax.Array, jax.Array], jax.Array]

EDM_MEAN, EDM_DEVIATION = -2.4, 2.4  # of gamma; log sigma ~ N(-1.2, 1.2^2) in Karras et al.


class BoundTerms(NamedTuple):
    """The terms of the bound of -log p(x) of each image, `[n]` each, in nats.

    Attributes:
        prior: KL(q(z_1 | x) || N(0, I)).
        diffusion: What the denoising of all noise levels costs.
        decoder: -log p(x | z_0).
    """

    prior: PerImage
    diffusion: PerImage
    decoder: PerImage

    @property
    def total(self) -> PerImage:
        """The bound, the sum of the terms."""
        return self.prior + self.diffusion + self.decoder


def bits_per_dimension(nats: jax.Array, image_shape: tuple[int, ...]) -> jax.Array:
    """Nats per image as bits per dimension: nats / (D ln 2), D the product of `image_shape`.

    Example:
        >>> round(bits_per_dimension(784 * 0.6931472, (28, 28, 1)), 5)
        1.0
    """
    return nats / (prod(image_shape) * log(2.0))


def prior_term(x: jax.Array, gamma: jax.Array) -> PerImage:
    """KL(N(alpha x, sigma^2 I) || N(0, I)) of each image, in nats.

    1/2 sum (alpha^2 x^2 + sigma^2 - 1 - log sigma^2).

    Args:
        x: `[n, ...]`, from `to_data`.
        gamma: The noise level at t = 1, a scalar.

    Example:
        >>> prior_term(jnp.zeros((1, 3)), jnp.float32(40.0)).tolist()
        [0.0]
    """
    # sigma^2 - 1 = -alpha^2, which is exact where sigma^2 is almost 1.
    signal, log_variance = jax.nn.sigmoid(-gamma), jax.nn.log_sigmoid(gamma)
    per_pixel = 0.5 * (signal * (x**2 - 1.0) - log_variance)
    return per_pixel.reshape(len(x), -1).sum(-1)


def decoder_term(x: jax.Array, gamma: jax.Array, noise: jax.Array) -> PerImage:
    """-log p(x | z_0) of each image in nats, with z_0 = alpha x + sigma noise.

    p(x | z_0) gives the value x_k of a pixel the probability proportional to
    exp(-(z_0 / alpha - x_k)^2 / (2 e^gamma)).

    Args:
        x: `[n, ...]`, from `to_data`.
        gamma: The noise level at t = 0, a scalar.
        noise: `[n, ...]`, standard normal.

    Returns:
        `[n]`.

    Example:
        >>> x = jnp.full((1, 2), 1.0 / 256)  # two pixels of the value 128
        >>> bool(decoder_term(x, -20.0, jnp.zeros((1, 2)))[0] < 1e-6)  # no doubt
        True
        >>> round(float(decoder_term(x, 20.0, jnp.zeros((1, 2)))[0] / 2 / jnp.log(256.0)), 2)
        1.0
    """
    deviation = sigma(gamma) / alpha(gamma)
    return -log_probability(x, noise, deviation).reshape(len(x), -1).sum(-1)


def diffusion_term(
    denoise: Denoise, x: jax.Array, gamma: jax.Array, slope: jax.Array, noise: jax.Array
) -> PerImage:
    """The diffusion term of each image at one noise level each, in nats.

    1/2 gamma'(t) ||epsilon - epsilon^||^2 = 1/2 gamma'(t) e^-gamma ||x - x^||^2. Its mean over
    uniform t is the term of the bound in continuous time.

    Args:
        denoise: `denoise(z, gamma) -> x^`.
        x: `[n, ...]`, from `to_data`.
        gamma: `[n]`, the noise levels.
        slope: gamma'(t), a scalar or `[n]`.
        noise: `[n, ...]`, standard normal.

    Example:
        >>> x = jnp.ones((1, 2))
        >>> diffusion_term(lambda z, gamma: 0 * z, x, jnp.zeros(1), 3.0, x).tolist()
        [3.0]

    References:
        Kingma et al., `Variational Diffusion Models <https://arxiv.org/abs/2107.00630>`_, 2021.
    """
    error = x - denoise(add_noise(x, gamma, noise), gamma)
    scaled = like(jnp.exp(-0.5 * gamma), error) * error  # epsilon^ - epsilon
    return 0.5 * slope * (scaled**2).reshape(len(x), -1).sum(-1)


def weight(config: DiffusionConfig, gamma: jax.Array) -> jax.Array:
    """w(gamma) of the training loss 1/2 E gamma'(t) w(gamma) ||epsilon - epsilon^||^2.

    "vlb" is 1. "sigmoid" is sigmoid(gamma + b), which rises with the noise, so that the loss bounds
    the likelihood of images with noise added. "edm" is the loss of Karras et al. with the density
    of its noise levels, N(gamma; -2.4, 2.4^2) (e^gamma + s^2) / s^2, with s = `data_deviation`.

    Args:
        config: Its `weighting`, `sigmoid_bias` and `data_deviation`.
        gamma: Noise levels.

    Returns:
        Of the shape of `gamma`.

    Example:
        >>> weight(DiffusionConfig(weighting="sigmoid", sigmoid_bias=0.0), jnp.zeros(1)).tolist()
        [0.5]

    References:
        Kingma & Gao, `Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation
        <https://arxiv.org/abs/2303.00848>`_, 2023. Karras et al., `Elucidating the Design Space of
        Diffusion-Based Generative Models <https://arxiv.org/abs/2206.00364>`_, 2022.
    """
    if config.weighting == "vlb":
        return jnp.ones_like(gamma)
    if config.weighting == "sigmoid":
        return jax.nn.sigmoid(gamma + config.sigmoid_bias)
    density = jax.scipy.stats.norm.pdf(gamma, EDM_MEAN, EDM_DEVIATION)
    return density * (jnp.exp(gamma) / config.data_deviation**2 + 1.0)
