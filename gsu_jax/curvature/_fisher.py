"""The diagonal of the empirical Fisher information: how much each parameter matters to a loss."""

import jax
import jax.numpy as jnp

from gsu_jax.data import ImageSet
from gsu_jax.models import Loss, Params


def mean_squared_gradient(
    loss: Loss, params: Params, images: ImageSet, key: jax.Array, *, at_once: int = 16
) -> Params:
    """The mean over images of the square of the gradient at each, a tree as `params`, float32.

    The diagonal of the empirical Fisher information. `at_once` gradients are held at a time.
    """

    def squared(image: jax.Array, key: jax.Array) -> Params:
        grads = jax.grad(loss)(params, image[None], key)
        return jax.tree.map(lambda g: jnp.square(g.astype(jnp.float32)), grads)

    chunks, at_once = images.chunks(at_once)

    def add(number: jax.Array, total: Params) -> Params:
        some, mask = images.chunk(number, at_once)
        keys = jax.random.split(jax.random.fold_in(key, number), at_once)
        squares = jax.vmap(squared)(some, keys)
        weights = mask / images.count
        return jax.tree.map(lambda t, s: t + jnp.tensordot(weights, s, 1), total, squares)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    return jax.lax.fori_loop(0, chunks, add, zeros)
