"""What deployment does to parameters: rounding, pruning, noise. Forgetting must survive it."""

from typing import Any

import jax
import jax.numpy as jnp

from gsu_jax import checks


def quantize(params: Any, bits: int = 8) -> Any:
    """Rounds each leaf to the 2^bits - 1 values k * max|w| / (2^(bits - 1) - 1).

    Symmetric, with one scale a leaf, as the plainest integer export does it. Knowledge that
    unlearning moved by less than a rounding step comes back. The result has the dtype of the
    parameters; integers and booleans stay as they are.

    Args:
        params: A pytree of arrays.
        bits: 2 to 16.

    Returns:
        The rounded parameters.

    Raises:
        TypeError: `bits` is not an integer.
        ValueError: `bits` is out of range.

    Example:
        >>> quantize({"w": jnp.array([0.2, -1.0, 0.6])}, bits=2)["w"].tolist()
        [0.0, -1.0, 1.0]

    References:
        Zhang et al., `Catastrophic Failure of LLM Unlearning via Quantization
        <https://arxiv.org/abs/2410.16454>`_, 2025.
    """
    checks.integer(bits=bits)
    checks.in_range(2, 17, bits=bits)
    most = 2 ** (bits - 1) - 1

    def round_leaf(leaf: jax.Array) -> jax.Array:
        scale = jnp.abs(leaf).max(initial=0.0) / most
        rounded = jnp.round(leaf / jnp.where(scale > 0, scale, 1)) * scale
        return rounded.astype(leaf.dtype)

    return _map_floating(round_leaf, params)


def prune(params: Any, share: float) -> Any:
    """Sets the smallest weights of the whole tree to 0.

    Args:
        params: A pytree of arrays.
        share: The share of all floating weights that is pruned, in [0, 1). Weights as large as the
            largest of those are pruned too.

    Returns:
        The pruned parameters.

    Raises:
        ValueError: `share` is out of range, or no leaf is floating.

    Example:
        >>> prune({"a": jnp.array([0.1, 3.0]), "b": jnp.array([-0.2, 2.0])}, 0.5)["b"].tolist()
        [0.0, 2.0]
    """
    checks.in_range(0, 1, share=share)
    sizes = [jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(params) if _is_floating(leaf)]
    if not sizes:
        raise ValueError("params has no floating leaf; give the parameters of a model")
    weights = jnp.sort(jnp.concatenate(sizes))
    count = int(share * len(weights))
    if not count:
        return params
    return _map_floating(
        lambda leaf: jnp.where(jnp.abs(leaf) > weights[count - 1], leaf, jnp.zeros_like(leaf)),
        params,
    )


def perturb(params: Any, key: jax.Array, scale: float) -> Any:
    """Adds normal noise whose norm is about `scale` times that of each leaf.

    Args:
        params: A pytree of arrays.
        key: A PRNG key; the same for all models that are compared.
        scale: 0.01 is noise of 1 %; at least 0.

    Returns:
        The noised parameters.

    Raises:
        TypeError: `key` is no key.
        ValueError: `scale` is below 0.

    Example:
        >>> params = {"w": jnp.ones(10_000)}
        >>> noise = perturb(params, jax.random.key(0), 0.01)["w"] - params["w"]
        >>> round(float(jnp.linalg.norm(noise) / jnp.linalg.norm(params["w"])), 3)
        0.01
    """
    checks.random_key(key=key)
    checks.at_least(0, scale=scale)
    leaves, structure = jax.tree.flatten(params)
    keys = structure.unflatten(list(jax.random.split(key, len(leaves))))

    def noised(leaf: jax.Array, key: jax.Array) -> jax.Array:
        size = jnp.sqrt(jnp.mean(jnp.square(leaf)))
        return (leaf + scale * size * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)

    return _map_floating(noised, params, keys)


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _map_floating(f: Any, params: Any, *rest: Any) -> Any:
    return jax.tree.map(
        lambda leaf, *others: f(jnp.asarray(leaf), *others) if _is_floating(leaf) else leaf,
        params,
        *rest,
    )
