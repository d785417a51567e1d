"""The paper's MNIST model: a variational autoencoder of linear layers (Kingma & Welling 2013)."""

from functools import lru_cache
from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax.data import scale_images
from gsu_jax.models import (
    GenerativeModel,
    MLPVAEConfig,
    bernoulli_log_likelihood,
    elbo_terms,
    gaussian_log_likelihood,
)
from gsu_jax.networks._functional import functional


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
