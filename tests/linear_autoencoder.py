"""A linear autoencoder without noise as a `GenerativeModel`, and its gradient by hand in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.models import GenerativeModel

SHAPE = (2, 2, 1)


def init(key: jax.Array) -> dict:
    first, second = jax.random.split(key)
    return {
        "encoder": {"kernel": 0.5 * jax.random.normal(first, (4, 3))},
        "decoder": {"kernel": 0.5 * jax.random.normal(second, (3, 4)), "bias": jnp.zeros(4)},
    }


def loss(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
    del key
    x = images.reshape(len(images), -1)
    drawn = x @ params["encoder"]["kernel"] @ params["decoder"]["kernel"]
    return 0.5 * jnp.square(drawn + params["decoder"]["bias"] - x).sum(-1).mean()


def sample(params: dict, key: jax.Array, n: int) -> jax.Array:
    drawn = jax.random.normal(key, (n, 3)) @ params["decoder"]["kernel"]
    return jax.nn.sigmoid(drawn + params["decoder"]["bias"]).reshape(n, *SHAPE)


MODEL = GenerativeModel(init, loss, sample)


def images(seed: int, n: int, offset: float = 0.0) -> np.ndarray:
    """Random images; another `offset` (up to 0.5) is another kind of image."""
    drawn = np.random.default_rng(seed).random((n, *SHAPE)) / 2 + offset
    return drawn.astype(np.float32)


def gradient(params: dict, images: np.ndarray) -> dict:
    """The gradient of `loss` in float64, from its formula."""
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    encoder, decoder, bias = (
        np.asarray(leaf, np.float64)
        for leaf in (
            params["encoder"]["kernel"],
            params["decoder"]["kernel"],
            params["decoder"]["bias"],
        )
    )
    z = x @ encoder
    error = (z @ decoder + bias - x) / len(x)
    return {
        "encoder": {"kernel": x.T @ (error @ decoder.T)},
        "decoder": {"kernel": z.T @ error, "bias": error.sum(0)},
    }
