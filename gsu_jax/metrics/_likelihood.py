"""Negative ELBO of single images."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax import checks
from gsu_jax.data import Examples, number_of, scale_examples
from gsu_jax.metrics._batching import padded_batches
from gsu_jax.models import GenerativeModel, kl_to_standard_normal, sample_posterior


def negative_elbo(
    model: GenerativeModel,
    params: Any,
    images: Examples,
    key: jax.Array,
    *,
    samples: int = 1,
    batch_size: int = 1000,
) -> np.ndarray:
    """Negative ELBO of each image, in nats, at beta = 1 whatever beta the model was trained with.

    KL(q(z|x) || N(0, I)) - E_q log p(x|z). The divergence is exact; `samples` draws of z estimate
    the expectation. Draw d of image i uses `fold_in(fold_in(key, d), i)`, so the result does not
    depend on `batch_size`. Values that overflow float32 are inf or NaN. For a model without an
    encoder it is minus `model.elbo`, of one image at a time, with the same keys.

    Args:
        model: A model with encode, decode and log_likelihood, or with elbo.
        params: Its parameters.
        images: `[n, height, width, channels]`, as in `GenerativeModel`; or a pytree of arrays.
        key: A PRNG key.
        samples: Draws of z for each image.
        batch_size: Images at a time. The last batch is padded, so one compilation serves all.

    Returns:
        `[n]` float64, so that a mean over it is taken in float64.

    Raises:
        ValueError: The model lacks a function, there are no images, or `samples` is below 1.

    Example:
        >>> normal = GenerativeModel(
        ...     init=None, loss=None, sample=None,
        ...     encode=lambda params, images: (jnp.zeros((len(images), 1)),) * 2,
        ...     decode=lambda params, z: z,
        ...     log_likelihood=lambda decoded, images: jnp.full(len(images), -3.0),
        ... )
        >>> images = np.zeros((2, 1, 1, 1), np.float32)
        >>> negative_elbo(normal, None, images, jax.random.key(0)).tolist()
        [3.0, 3.0]

    References:
        Kingma & Welling, `Auto-Encoding Variational Bayes <https://arxiv.org/abs/1312.6114>`_,
        2013.
    """
    if not has_elbo(model):
        model.require("encode", "decode", "log_likelihood", needed_by="negative_elbo")
    checks.at_least(1, samples=samples)
    # Nothing here waits for the device until the last batch is on its way.
    batches = [
        [
            negative_elbo_of_batch(model, params, batch, start, jax.random.fold_in(key, draw))
            for draw in range(samples)
        ]
        for start, batch in padded_batches(images, batch_size)
    ]
    per_draw = np.concatenate([np.stack(draws, axis=1) for draws in jax.device_get(batches)])
    return per_draw[: number_of(images)].astype(np.float64).mean(axis=1)


def has_elbo(model: GenerativeModel) -> bool:
    """Returns whether the model has what `negative_elbo` needs."""
    return model.elbo is not None or None not in (model.encode, model.decode, model.log_likelihood)


@partial(jax.jit, static_argnames="model")
def negative_elbo_of_batch(model, params, images, start, key):
    """`[n]`, with one draw of z for each image; `start` is the place of the first one."""
    # Not `elbo_terms`, which draws a batch from one key: here each image has a key of its own.
    images = scale_examples(images)
    keys = jax.vmap(partial(jax.random.fold_in, key))(start + jnp.arange(number_of(images)))
    if None in (model.encode, model.decode, model.log_likelihood):

        def bound(image, key):
            return model.elbo(params, jax.tree.map(lambda x: x[None], image), key)[0]

        return -jax.vmap(bound)(images, keys).astype(jnp.float32)
    mean, log_variance = model.encode(params, images)
    z = jax.vmap(sample_posterior)(mean, log_variance, keys)
    log_likelihood = model.log_likelihood(model.decode(params, z), images)
    return kl_to_standard_normal(mean, log_variance) - log_likelihood.astype(jnp.float32)
