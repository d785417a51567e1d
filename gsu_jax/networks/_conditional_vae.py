"""A class-conditional VAE of linear layers: its examples are images with labels."""

from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax.models import ConditionalVAEConfig, GenerativeModel, Params, elbo_terms, vae
from gsu_jax.networks._functional import functional
from gsu_jax.networks._mlp_vae import Stack


class _ConditionalVAE(nnx.Module):
    def __init__(self, config: ConditionalVAEConfig, rngs: nnx.Rngs) -> None:
        pixels, latents, classes = prod(config.image_shape), config.latent_size, config.classes
        self.encoder = Stack((pixels + classes, *config.widths, 2 * latents), config.dtype, rngs)
        self.decoder = Stack((latents + classes, *config.widths[::-1], pixels), config.dtype, rngs)


def conditional_vae(config: ConditionalVAEConfig | None = None) -> GenerativeModel:
    """A VAE of images x given their class y; both layer stacks see y as a one-hot vector.

    An example is `{"image": x, "label": y}`. The training loss is the mean over examples of
    -log p(x|z, y) + beta KL(q(z|x, y) || N(0, I)), in nats.

    Args:
        config: Its settings; the default is `ConditionalVAEConfig()`. Equal configs give one and
            the same model, so that compiled programs are found again.

    Returns:
        A `GenerativeModel` with `init`, `loss`, `elbo` and `sample`, which draws labels uniformly.
        `sample_class` draws images of given labels.

    Example:
        >>> model = conditional_vae(ConditionalVAEConfig((2, 2, 1), (4,), 3, classes=2))
        >>> params = model.init(jax.random.key(0))
        >>> batch = {"image": jnp.zeros((5, 2, 2, 1)), "label": jnp.array([0, 1, 1, 0, 1])}
        >>> model.elbo(params, batch, jax.random.key(1)).shape
        (5,)

    References:
        Sohn, Lee & Yan, `Learning Structured Output Representation using Deep Conditional
        Generative Models <https://papers.nips.cc/paper/5775>`_, 2015.
    """
    return _build(config or ConditionalVAEConfig())[0]


def sample_class(
    config: ConditionalVAEConfig, params: Params, key: jax.Array, labels: jax.Array
) -> jax.Array:
    """Draws an image of each label from a `conditional_vae`.

    Args:
        config: The settings of the model.
        params: Its parameters.
        key: A PRNG key.
        labels: `[n]` integers below `config.classes`.

    Returns:
        `[n, *image_shape]` images, floating in [0, 1].

    Example:
        >>> config = ConditionalVAEConfig((2, 2, 1), (4,), 3, classes=2)
        >>> params = conditional_vae(config).init(jax.random.key(0))
        >>> sample_class(config, params, jax.random.key(1), jnp.array([1, 1, 0])).shape
        (3, 2, 2, 1)
    """
    of_condition = _build(config)[1]
    labels = jnp.asarray(labels)
    return of_condition.sample((params, _one_hot(labels, config)), key, len(labels))


def _one_hot(labels: jax.Array, config: ConditionalVAEConfig) -> jax.Array:
    return jax.nn.one_hot(labels, config.classes)


@lru_cache
def _build(config: ConditionalVAEConfig) -> tuple[GenerativeModel, GenerativeModel]:
    """The model, and the VAE of images whose parameters are (params, one-hot labels)."""
    init, module = functional(lambda rngs: _ConditionalVAE(config, rngs))

    def encoder(given: tuple[Params, jax.Array], images: jax.Array) -> jax.Array:
        params, condition = given
        x = images.reshape(len(images), -1)
        return module(params).encoder(jnp.concatenate([x, condition.astype(x.dtype)], axis=-1))

    def decoder(given: tuple[Params, jax.Array], z: jax.Array) -> jax.Array:
        params, condition = given
        x = module(params).decoder(jnp.concatenate([z, condition.astype(z.dtype)], axis=-1))
        return x.reshape(-1, *config.image_shape)

    of_condition = vae(config, init, encoder, decoder)

    def given(params: Params, batch: dict[str, Any]) -> tuple[Params, jax.Array]:
        if not isinstance(batch, dict) or set(batch) != {"image", "label"}:
            raise ValueError(
                "examples of a conditional VAE must be {'image': images, 'label': labels}, got "
                f"{sorted(batch) if isinstance(batch, dict) else 'images alone'}"
            )
        return params, _one_hot(batch["label"], config)

    def loss(params: Params, batch: dict[str, Any], key: jax.Array) -> jax.Array:
        return of_condition.loss(given(params, batch), batch["image"], key)

    def elbo(params: Params, batch: dict[str, Any], key: jax.Array) -> jax.Array:
        terms = elbo_terms(of_condition, given(params, batch), batch["image"], key)
        return -(terms.reconstruction + terms.kl)

    def sample(params: Params, key: jax.Array, n: int) -> jax.Array:
        label_key, image_key = jax.random.split(key)
        labels = jax.random.randint(label_key, (n,), 0, config.classes)
        return of_condition.sample((params, _one_hot(labels, config)), image_key, n)

    return GenerativeModel(init, loss, sample, elbo=elbo), of_condition
