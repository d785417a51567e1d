"""Whether the decoder still draws an image, if one searches for its latent."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.data import Examples, number_of, scale_examples
from gsu_jax.models import GenerativeModel
from gsu_jax.runtime import Compiled, ProgramCache

LEARNING_RATE = 0.1
PRIOR_DRAWS = 2


class Recovery(NamedTuple):
    """Result of `recover_latents`, of the best start of each image.

    Attributes:
        loss: `[n]`, -log p(x|z*) + |z*|^2 / 2 in nats.
        latent: `[n, latent]`, z*.
        squared_norm: `[n]`, |z*|^2; under the prior it is chi-square with `latent` degrees.
        squared_error: `[n]`, mean over pixels of the squared error of the drawn image; NaN of a
            model without `mean`.
        start: `[n]`, which start was best.
    """

    loss: np.ndarray
    latent: np.ndarray
    squared_norm: np.ndarray
    squared_error: np.ndarray
    start: np.ndarray


def recover_latents(
    model: GenerativeModel,
    params: Any,
    images: Examples,
    key: jax.Array,
    *,
    steps: int = 300,
    starts: ArrayLike | None = None,
) -> Recovery:
    r"""The best latent of each image: an attack with the decoder alone.

    .. math::

        z^* = \arg\min_z \; -\log p(x|z) + \tfrac12 |z|^2

    by `steps` of Adam from four starts: the encoder's mean, zero, and two draws from the prior. The
    original model's posterior means are a good fifth. Compare with retrained models, not with zero:
    over-forgetting shows as a larger loss than theirs. All images are fitted at once, so give a few
    hundred. The draws depend on `key` alone, not on the model.

    Args:
        model: A model with encode, decode and log_likelihood, and the prior N(0, I).
        params: Its parameters.
        images: `[n, height, width, channels]`, as in `GenerativeModel`; or a pytree of arrays.
        key: A PRNG key; the same for all models that are compared.
        steps: Steps of Adam; the rate falls from 0.1 along a cosine.
        starts: `[m, n, latent]`, further starts.

    Returns:
        A `Recovery` of NumPy float64 arrays.

    Raises:
        ValueError: The model lacks a function, there are no images, `steps` is below 1, or `starts`
            has another shape.

    Example:
        A decoder that draws z itself, with variance 1: the best latent of x = 1 is 1/2.

        >>> normal = GenerativeModel(
        ...     init=None, loss=None, sample=None,
        ...     encode=lambda params, images: (jnp.zeros((len(images), 1)),) * 2,
        ...     decode=lambda params, z: z[:, :, None, None],
        ...     log_likelihood=lambda mean, x: -0.5 * ((x - mean) ** 2).sum((1, 2, 3)),
        ... )
        >>> images = np.ones((1, 1, 1, 1), np.float32)
        >>> found = recover_latents(normal, None, images, jax.random.key(0))
        >>> found.latent.round(3).tolist(), found.loss.round(3).tolist()
        ([[0.5]], [0.25])

    References:
        Rusanovsky et al., `Memories of Forgotten Concepts <https://arxiv.org/abs/2412.00782>`_,
        2025.
    """
    model.require("encode", "decode", "log_likelihood", needed_by="recover_latents")
    checks.at_least(1, steps=steps)
    if not number_of(images):
        raise ValueError("images is empty; give at least one")
    images = scale_examples(images)
    mean = jnp.nan_to_num(model.encode(params, images)[0])
    given = jnp.zeros((0, *mean.shape)) if starts is None else jnp.asarray(starts)
    if given.shape[1:] != mean.shape:
        raise ValueError(f"starts must be [m, {mean.shape[0]}, {mean.shape[1]}], got {given.shape}")
    prior = jax.random.normal(key, (PRIOR_DRAWS, *mean.shape))
    every = jnp.concatenate([mean[None], jnp.zeros_like(mean)[None], prior, given])
    program = ProgramCache.default.get(
        (recover_latents, model, steps), lambda: Compiled(partial(_descend, model, steps))
    )
    found = program(params, images, every.astype(jnp.float32))
    return Recovery(*(np.asarray(x, np.float64) for x in found[:-1]), np.asarray(found[-1]))


def _descend(model: GenerativeModel, steps: int, params: Any, images: Any, starts: jax.Array):
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def losses(z: jax.Array) -> jax.Array:
        """Of each start and image, `[starts, n]`."""
        likelihood = jax.vmap(lambda z: model.log_likelihood(model.decode(params, z), images))(z)
        return 0.5 * jnp.square(z).sum(-1) - likelihood.astype(jnp.float32)

    def step(_: int, carry: tuple) -> tuple:
        z, state = carry
        updates, state = optimizer.update(jax.grad(lambda z: losses(z).sum())(z), state)
        return optax.apply_updates(z, updates), state

    z, _ = jax.lax.fori_loop(0, steps, step, (starts, optimizer.init(starts)))
    loss = losses(z)
    loss = jnp.where(jnp.isfinite(loss), loss, jnp.inf)
    best, rows = loss.argmin(0), jnp.arange(z.shape[1])
    z = z[best, rows]
    error = jnp.full(len(z), jnp.nan)
    if model.mean is not None:
        drawn = model.mean(model.decode(params, z))
        error = jnp.square(drawn - images.reshape(drawn.shape)).reshape(len(z), -1).mean(1)
    return loss[best, rows], z, jnp.square(z).sum(-1), error, best
