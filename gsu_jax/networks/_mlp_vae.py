"""The paper's MNIST model: a variational autoencoder of linear layers (Kingma & Welling 2013)."""

from functools import lru_cache
from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax.models import GenerativeModel, MLPVAEConfig, vae
from gsu_jax.networks._functional import functional


class Stack(nnx.Module):
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
        self.encoder = Stack((pixels, *config.widths, 2 * latents), config.dtype, rngs)
        self.decoder = Stack((latents, *config.widths[::-1], pixels), config.dtype, rngs)


def mlp_vae(config: MLPVAEConfig | None = None) -> GenerativeModel:
    """A VAE of linear layers with ReLU between them.

    The paper names linear layers and gives no widths. The default is 784-400-400-20-400-400-784.

    Args:
        config: Its settings; the default is `MLPVAEConfig()`. Equal configs give one and the same
            model, so that compiled programs are found again.

    Returns:
        A `GenerativeModel` whose parameters are a nested dict. Its decoded values are logits
        (Bernoulli) or means (Gaussian) of the image's shape.

    Example:
        >>> model = mlp_vae(MLPVAEConfig((2, 2, 1), widths=(4,), latent_size=3))
        >>> params = model.init(jax.random.key(0))
        >>> model.sample(params, jax.random.key(1), 5).shape
        (5, 2, 2, 1)

    References:
        Kingma & Welling, `Auto-Encoding Variational Bayes <https://arxiv.org/abs/1312.6114>`_,
        2013.
    """
    return _build(config or MLPVAEConfig())


@lru_cache
def _build(config: MLPVAEConfig) -> GenerativeModel:
    init, module = functional(lambda rngs: _MLPVAE(config, rngs))

    def encoder(params: dict, images: jax.Array) -> jax.Array:
        return module(params).encoder(images.reshape(len(images), -1))

    def decoder(params: dict, z: jax.Array) -> jax.Array:
        return module(params).decoder(z).reshape(-1, *config.image_shape)

    return vae(config, init, encoder, decoder)
