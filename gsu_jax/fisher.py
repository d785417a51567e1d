"""The diagonal of the empirical Fisher information: how much each parameter matters to a loss."""

import jax
import jax.numpy as jnp

from gsu_jax.generative import Params
from gsu_jax.losses import Loss


def mean_squared_gradient(
    loss: Loss, params: Params, images: jax.Array, key: jax.Array, *, at_once: int = 16
) -> Params:
    """The mean over images of the square of the gradient at each, a tree as `params`, float32.

    The diagonal of the empirical Fisher information. `at_once` gradients are held at a time.
    """

    def squared(image: jax.Array, key: jax.Array) -> Params:
        grads = jax.grad(loss)(params, image[None], key)
        return jax.tree.map(lambda g: jnp.square(g.astype(jnp.float32)), grads)

    def add(total: Params, part: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Params, None]:
        images, keys, counts = part
        squares = jax.vmap(squared)(images, keys)
        return jax.tree.map(lambda t, s: t + jnp.tensordot(counts, s, 1), total, squares), None

    n, at_once = len(images), min(at_once, len(images))
    place = jnp.arange(-(-n // at_once) * at_once).reshape(-1, at_once)
    keys = jax.random.split(key, place.shape)
    counts = (place < n).astype(jnp.float32) / n  # the last part is filled up
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    return jax.lax.scan(add, zeros, (images[place % n], keys, counts))[0]
