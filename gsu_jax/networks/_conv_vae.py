"""The paper's CelebA model: a convolutional variational autoencoder (Kingma & Welling 2013)."""

from functools import lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax.data import scale_images
from gsu_jax.models import (
    ConvVAEConfig,
    GenerativeModel,
    bernoulli_log_likelihood,
    elbo_terms,
    gaussian_log_likelihood,
)
from gsu_jax.networks._functional import functional
from gsu_jax.networks._patches import Double, Halve


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
    (`gsu_jax.networks`), with ReLU between them. Decoded values are means (Gaussian) or
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
            return bernoulli_log_likelihood(decoded, images)
        return gaussian_log_likelihood(decoded, images, config.variance)

    def mean(decoded: jax.Array) -> jax.Array:
        return nnx.sigmoid(decoded) if config.likelihood == "bernoulli" else decoded

    def loss(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
        terms = elbo_terms(model, params, images, key)
        return jnp.mean(terms.reconstruction + config.beta * terms.kl)

    def sample(params: dict, key: jax.Array, n: int) -> jax.Array:
        return mean(decode(params, jax.random.normal(key, (n, config.latent_size))))

    model = GenerativeModel(init, loss, sample, encode, decode, log_likelihood, mean)
    return model
