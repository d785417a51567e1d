"""The paper's MNIST model: a variational autoencoder of linear layers (Kingma & Welling 2013)."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax import losses
from gsu_jax.generative import GenerativeModel, scale_images
from gsu_jax.models.functional import functional


@dataclass(frozen=True)
class MLPVAEConfig:
    """Settings of `mlp_vae`.

    Attributes:
      image_shape: height, width, channels.
      widths: hidden layers of the encoder; the decoder mirrors them.
      latent_size: dimensions of z.
      beta: weight of the KL term in the training loss (Higgins et al. 2017); 1 is the ELBO.
      likelihood: p(x|z), "bernoulli" (logits) or "gaussian" (mean in [0, 1], fixed variance).
      variance: the Gaussian's variance per pixel; not used by "bernoulli".
      dtype: of the computation; parameters, losses and latents are float32.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    widths: tuple[int, ...] = (400, 400)
    latent_size: int = 20
    beta: float = 1.0
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
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


class _Stack(nnx.Module):
    """Linear layers with ReLU between them and none after the last."""

    def __init__(self, sizes: tuple[int, ...], dtype: str, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            nnx.Linear(a, b, dtype=jnp.dtype(dtype), rngs=rngs) for a, b in pairwise(sizes)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        *hidden, last = self.layers
        for layer in hidden:
            x = nnx.relu(layer(x))
        return last(x).astype(jnp.float32)


class _MLPVAE(nnx.Module):
    def __init__(self, config: MLPVAEConfig, rngs: nnx.Rngs) -> None:
        pixels = prod(config.image_shape)
        latents = config.latent_size
        self.encoder = _Stack((pixels, *config.widths, 2 * latents), config.dtype, rngs)
        self.decoder = _Stack((latents, *config.widths[::-1], pixels), config.dtype, rngs)


@lru_cache
def mlp_vae(config: MLPVAEConfig | None = None) -> GenerativeModel:
    """A VAE of linear layers as a `GenerativeModel`; parameters are a plain nested dict.

    The paper's stack of linear layers is 784-400-400-20-400-400-784 here (its widths are not
    given). Decoded values are logits (Bernoulli) or means (Gaussian) of the image's shape.
    """
    config = config or MLPVAEConfig()
    init, module = functional(lambda rngs: _MLPVAE(config, rngs))

    def encode(params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        if images.shape[1:] != config.image_shape:
            raise ValueError(
                f"images must be [n, {', '.join(map(str, config.image_shape))}] for this model, "
                f"found {list(images.shape)}."
            )
        flat = scale_images(images).reshape(len(images), -1)
        mean, log_variance = jnp.split(module(params).encoder(flat), 2, axis=-1)
        return mean, log_variance

    def decode(params: dict, z: jax.Array) -> jax.Array:
        decoded = module(params).decoder(z).reshape(-1, *config.image_shape)
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
