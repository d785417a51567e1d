"""The paper's CelebA model: a convolutional variational autoencoder (Kingma & Welling 2013)."""

from functools import lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax.models import ConvVAEConfig, GenerativeModel, vae
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


def conv_vae(config: ConvVAEConfig | None = None) -> GenerativeModel:
    """A convolutional VAE with ReLU between its layers.

    Every layer is a 4x4 convolution of stride 2 or its transpose, computed as one matrix product.

    Args:
        config: Its settings; the default is `ConvVAEConfig()`. Equal configs give one and the same
            model, so that compiled programs are found again.

    Returns:
        A `GenerativeModel` whose parameters are a nested dict. Its decoded values are means
        (Gaussian) or logits (Bernoulli) of the image's shape.

    Example:
        >>> model = conv_vae(ConvVAEConfig((4, 4, 1), widths=(2,), latent_size=3))
        >>> jax.eval_shape(model.init, jax.random.key(0))["decoder"]["first"]["kernel"].shape
        (3, 8)

    References:
        Kingma & Welling, `Auto-Encoding Variational Bayes <https://arxiv.org/abs/1312.6114>`_,
        2013.
    """
    return _build(config or ConvVAEConfig())


@lru_cache
def _build(config: ConvVAEConfig) -> GenerativeModel:
    init, module = functional(lambda rngs: _ConvVAE(config, rngs))

    def encoder(params: dict, images: jax.Array) -> jax.Array:
        return module(params).encoder(images)

    def decoder(params: dict, z: jax.Array) -> jax.Array:
        return module(params).decoder(z)

    return vae(config, init, encoder, decoder)
