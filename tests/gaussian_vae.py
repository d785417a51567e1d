"""A linear VAE with Gaussian pixels as a `GenerativeModel`: small enough to compute by hand."""

import jax
import jax.numpy as jnp

from gsu_jax.models import GenerativeModel, elbo_terms, gaussian_log_likelihood

SHAPE = (2, 2, 1)
VARIANCE = 0.5


def init(key: jax.Array) -> dict:
    """The posterior is so narrow that z is its mean x E, to four digits: no noise in a test."""
    first, second = jax.random.split(key)
    return {
        "encoder": {
            "kernel": jax.random.normal(first, (4, 3)),
            "log_variance": jnp.full(3, -20.0),
        },
        "decoder": {"kernel": 0.3 * jax.random.normal(second, (3, 4)), "bias": jnp.full(4, 0.5)},
    }


def encode(params: dict, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean = images.reshape(len(images), 4) @ params["encoder"]["kernel"]
    return mean, jnp.broadcast_to(params["encoder"]["log_variance"], mean.shape)


def decode(params: dict, z: jax.Array) -> jax.Array:
    decoder = params["decoder"]
    return (z @ decoder["kernel"] + decoder["bias"]).reshape(len(z), *SHAPE)


def log_likelihood(decoded: jax.Array, images: jax.Array) -> jax.Array:
    return gaussian_log_likelihood(decoded, images, VARIANCE)


def loss(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
    terms = elbo_terms(MODEL, params, images, key)
    return (terms.reconstruction + terms.kl).mean()


def sample(params: dict, key: jax.Array, n: int) -> jax.Array:
    return decode(params, jax.random.normal(key, (n, 3)))


def denoise(params: dict, z: jax.Array, gamma: jax.Array) -> jax.Array:
    """Some estimate that depends on the decoder, for methods of diffusion models."""
    kernel = params["decoder"]["kernel"]
    flat = jax.nn.sigmoid(-gamma)[:, None] * z.reshape(len(z), 4) @ kernel.T @ kernel
    return (flat + params["decoder"]["bias"] - 0.5).reshape(z.shape)


MODEL = GenerativeModel(
    init, loss, sample, encode, decode, log_likelihood, lambda decoded: decoded, denoise=denoise
)
