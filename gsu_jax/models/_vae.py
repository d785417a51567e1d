"""What all variational autoencoders share, whatever their encoder and decoder."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gsu_jax.data import scale_images
from gsu_jax.models._configs import VAEConfig
from gsu_jax.models._elbo import bernoulli_log_likelihood, elbo_terms, gaussian_log_likelihood
from gsu_jax.models._generative import GenerativeModel, Params


def vae(
    config: VAEConfig,
    init: Callable[[jax.Array], Params],
    encoder: Callable[[Params, jax.Array], jax.Array],
    decoder: Callable[[Params, jax.Array], jax.Array],
) -> GenerativeModel:
    """Builds a VAE (Kingma & Welling 2013) from an encoder and a decoder.

    The training loss is the mean over images of -log p(x|z) + beta KL(q(z|x) || N(0, I)), in nats,
    with one z ~ q(z|x) for each image.

    Args:
        config: The image shape, the likelihood and beta.
        init: `init(key) -> params`.
        encoder: `encoder(params, images)` of `[n, *image_shape]` floats gives `[n, 2 latent]`: the
            mean and the log variance of q(z|x).
        decoder: `decoder(params, z)` gives `[n, *image_shape]` logits of the pixels.

    Returns:
        A `GenerativeModel`. Its decoded values are logits (Bernoulli) or means (Gaussian).

    Example:
        >>> config = VAEConfig((1, 1, 2), widths=(4,), latent_size=1, likelihood="bernoulli")
        >>> model = vae(
        ...     config,
        ...     init=lambda key: jnp.ones(2),
        ...     encoder=lambda params, images: images.reshape(-1, 2) * params,
        ...     decoder=lambda params, z: (z * params).reshape(-1, 1, 1, 2),
        ... )
        >>> model.mean(model.decode(jnp.ones(2), jnp.zeros((1, 1)))).tolist()
        [[[[0.5, 0.5]]]]
    """
    bernoulli = config.likelihood == "bernoulli"

    def encode(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        if images.shape[1:] != config.image_shape:
            expected = ", ".join(map(str, config.image_shape))
            raise ValueError(
                f"images must be [n, {expected}] for this model, got {list(images.shape)}"
            )
        mean, log_variance = jnp.split(encoder(params, scale_images(images)), 2, axis=-1)
        return mean, log_variance

    def decode(params: Params, z: jax.Array) -> jax.Array:
        decoded = decoder(params, z)
        return decoded if bernoulli else jax.nn.sigmoid(decoded)

    def log_likelihood(decoded: jax.Array, images: jax.Array) -> jax.Array:
        if bernoulli:
            return bernoulli_log_likelihood(decoded, images)
        return gaussian_log_likelihood(decoded, images, config.variance)

    def pixel_mean(decoded: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(decoded) if bernoulli else decoded

    def loss(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
        terms = elbo_terms(model, params, images, key)
        return jnp.mean(terms.reconstruction + config.beta * terms.kl)

    def sample(params: Params, key: jax.Array, n: int) -> jax.Array:
        return pixel_mean(decode(params, jax.random.normal(key, (n, config.latent_size))))

    model = GenerativeModel(init, loss, sample, encode, decode, log_likelihood, pixel_mean)
    return model
