"""The diagonal of the empirical Fisher information: how much each parameter matters to a loss."""

import jax
import jax.numpy as jnp

from gsu_jax.data import Examples, ImageSet
from gsu_jax.models import Loss, Params


def mean_squared_gradient(
    loss: Loss, params: Params, images: ImageSet, key: jax.Array, *, at_once: int = 16
) -> Params:
    """Returns the diagonal of the empirical Fisher information.

    It is the mean over images of the squared gradient of the loss at each image.

    Args:
        loss: `loss(params, images, key) -> scalar`.
        params: A tree of floating-point arrays.
        images: The images, at least one.
        key: A JAX random key; each image gets its own.
        at_once: The number of gradients that are held at a time.

    Returns:
        A tree with the structure and shapes of `params`, in float32.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss(params, images, key):
        ...     return jnp.mean(images) * params
        >>> images = ImageSet.of(jnp.array([0.0, 1.0]).reshape(2, 1, 1, 1))
        >>> float(mean_squared_gradient(loss, jnp.ones(()), images, jax.random.key(0)))
        0.5
    """

    def squared(image: Examples, key: jax.Array) -> Params:
        grads = jax.grad(loss)(params, jax.tree.map(lambda x: x[None], image), key)
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
