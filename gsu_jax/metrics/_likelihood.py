"""Negative ELBO of single images: how well a latent variable model still explains them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import scale_images
from gsu_jax.metrics._batching import padded_batches
from gsu_jax.models import GenerativeModel


def negative_elbo(
    model: GenerativeModel,
    params: Any,
    images: np.ndarray,
    key: jax.Array,
    *,
    samples: int = 1,
    batch_size: int = 1000,
) -> np.ndarray:
    """Negative ELBO of each image, in nats, at beta = 1 whatever the model was trained with.

    KL(q(z|x) || N(0, I)) - E_q log p(x|z), the divergence in closed form and the expectation over
    `samples` draws of z. Image i draws with `key` folded with the draw and with i, so the result
    does not depend on `batch_size`. Values that overflow float32 come back as inf or NaN.

    Args:
      model: needs encode, decode and log_likelihood.
      params: its parameters.
      images: `[n, height, width, channels]`, as in `GenerativeModel`.
      key: a PRNG key.
      samples: draws of z for each image.
      batch_size: images at a time; one compilation, the last batch is filled up.

    Returns:
      `[n]` float64, so that a mean over it is taken in float64.

    Raises:
      ValueError: the model lacks a function, or `samples` is below 1.
    """
    model.require("encode", "decode", "log_likelihood", needed_by="negative_elbo")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, found {samples}.")
    # A loop on the host, never a lax.scan: convolutions inside one are 22x slower on XLA's CPU
    # backend. Nothing here waits for the device until the last batch is on its way.
    batches = [
        [
            _batch_negative_elbo(model, params, batch, start, jax.random.fold_in(key, draw))
            for draw in range(samples)
        ]
        for start, batch in padded_batches(images, batch_size)
    ]
    per_draw = np.concatenate([np.stack(draws, axis=1) for draws in jax.device_get(batches)])
    return per_draw[: len(images)].astype(np.float64).mean(axis=1)


@partial(jax.jit, static_argnames="model")
def _batch_negative_elbo(model, params, images, start, key):
    images = scale_images(images)
    mean, log_variance = model.encode(params, images)
    keys = jax.vmap(partial(jax.random.fold_in, key))(start + jnp.arange(len(images)))
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
    z = mean + jnp.exp(0.5 * log_variance) * noise
    log_likelihood = model.log_likelihood(model.decode(params, z), images)
    divergence = 0.5 * (jnp.exp(log_variance) + jnp.square(mean) - 1.0 - log_variance)
    axes = tuple(range(1, mean.ndim))
    return divergence.astype(jnp.float32).sum(axes) - log_likelihood.astype(jnp.float32)
