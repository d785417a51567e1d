"""The paper's CelebA model: a convolutional variational autoencoder (Kingma & Welling 2013)."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax import losses
from gsu_jax.generative import GenerativeModel, scale_images
from gsu_jax.models.functional import functional
from gsu_jax.models.patches import Double, Halve


@dataclass(frozen=True)
class ConvVAEConfig:
    """Settings of `conv_vae`.

    Attributes:
      image_shape: height, width, channels; both sides a multiple of 2^(number of widths).
      widths: channels after each of the encoder's layers, every one of which halves the image; the
        decoder mirrors them.
      latent_size: dimensions of z.
      beta: weight of the KL term in the training loss (Higgins et al. 2017); 1 is the ELBO.
      likelihood: p(x|z), "bernoulli" (logits) or "gaussian" (mean in [0, 1], fixed variance).
      variance: the Gaussian's variance per pixel; not used by "bernoulli".
      dtype: of the computation; parameters, losses and latents are float32.
    """

    image_shape: tuple[int, int, int] = (64, 64, 3)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    latent_size: int = 128
    beta: float = 1.0
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    variance: float = 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("image_shape", "widths"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name} must hold positive sizes, found {sizes}.")
        if len(self.image_shape) != 3:
            raise ValueError(
                f"image_shape must be (height, width, channels), found {self.image_shape}."
            )
        multiple = 2 ** len(self.widths)
        if any(side % multiple for side in self.image_shape[:2]):
            raise ValueError(
                f"{len(self.widths)} widths halve the image as often: height and width must be "
                f"multiples of {multiple}, found {self.image_shape}. Give fewer widths, or load "
                "the images with another image_size."
            )
        if self.latent_size < 1:
            raise ValueError(f"latent_size must be at least 1, found {self.latent_size}.")
        if self.beta < 0 or self.variance <= 0:
            raise ValueError(
                f"beta must be at least 0 and variance above 0, found {self.beta}, {self.variance}."
            )
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood must be bernoulli or gaussian, not {self.likelihood!r}.")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, not {self.dtype!r}.")

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the smallest layer."""
        multiple = 2 ** len(self.widths)
        height, width, _ = self.image_shape
        return height // multiple, width // multiple, self.widths[-1]


class _Encoder(nnx.Module):
    def __init__(self, config: ConvVAEConfig, rngs: nnx.Rngs) -> None:
        channels = (config.image_shape[-1], *config.widths)
        self.layers = nnx.List(Halve(a, b, config.dtype, rngs) for a, b in pairwise(channels))
        height, width, inner = config.inner_shape
        self.last = nnx.Linear(
            height * width * inner,
            2 * config.latent_size,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return self.last(x.reshape(len(x), -1)).astype(jnp.float32)


class _Decoder(nnx.Module):
    def __init__(self, config: ConvVAEConfig, rngs: nnx.Rngs) -> None:
        height, width, inner = config.inner_shape
        self.first = nnx.Linear(
            config.latent_size, height * width * inner, dtype=jnp.dtype(config.dtype), rngs=rngs
        )
        channels = (config.image_shape[-1], *config.widths)[::-1]
        self.layers = nnx.List(Double(a, b, config.dtype, rngs) for a, b in pairwise(channels))
        self.inner_shape = (height, width, inner)

    def __call__(self, z: jax.Array) -> jax.Array:
        x = self.first(z).reshape(-1, *self.inner_shape)
        for layer in self.layers:
            x = layer(nnx.relu(x))
        return x.astype(jnp.float32)


class _ConvVAE(nnx.Module):
    def __init__(self, config: ConvVAEConfig, rngs: nnx.Rngs) -> None:
        self.encoder = _Encoder(config, rngs)
        self.decoder = _Decoder(config, rngs)


@lru_cache
def conv_vae(config: ConvVAEConfig | None = None) -> GenerativeModel:
    """A convolutional VAE as a `GenerativeModel`; parameters are a plain nested dict.

    Every layer is a 4x4 convolution of stride 2, or its transpose, as one matrix product
    (`gsu_jax.models.patches`), with ReLU between them. Decoded values are means (Gaussian) or
    logits (Bernoulli) of the image's shape.
    """
    config = config or ConvVAEConfig()
    init, module = functional(lambda rngs: _ConvVAE(config, rngs))

    def encode(params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        if images.shape[1:] != config.image_shape:
            raise ValueError(
                f"images must be [n, {', '.join(map(str, config.image_shape))}] for this model, "
                f"found {list(images.shape)}."
            )
        mean, log_variance = jnp.split(module(params).encoder(scale_images(images)), 2, axis=-1)
        return mean, log_variance

    def decode(params: dict, z: jax.Array) -> jax.Array:
        decoded = module(params).decoder(z)
        return decoded if config.likelihood == "bernoulli" else nnx.sigmoid(decoded)

    def log_likelihood(decoded: jax.Array, images: jax.Array) -> jax.Array:
        if config.likelihood == "bernoulli":
            return losses.bernoulli_log_likelihood(decoded, images)
        return losses.gaussian_log_likelihood(decoded, images, config.variance)

    def mean(decoded: jax.Array) -> jax.Array:
        return nnx.sigmoid(decoded) if config.likelihood == "bernoulli" else decoded

    def loss(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
        terms = losses.elbo_terms(model, params, images, key)
        return jnp.mean(terms.reconstruction + config.beta * terms.kl)

    def sample(params: dict, key: jax.Array, n: int) -> jax.Array:
        return mean(decode(params, jax.random.normal(key, (n, config.latent_size))))

    model = GenerativeModel(init, loss, sample, encode, decode, log_likelihood, mean)
    return model
