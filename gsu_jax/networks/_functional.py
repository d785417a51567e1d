"""Pure functions from Flax NNX modules."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

Module = TypeVar("Module", bound=nnx.Module)


def functional(
    build: Callable[[nnx.Rngs], Module],
) -> tuple[Callable[[jax.Array], dict], Callable[[dict], Module]]:
    """Splits a module once into two pure functions.

    Parameters are a nested dict of arrays, so `jax.grad`, optax and checkpoints need not know Flax.
    `bind` costs nothing under `jit`, because it runs while JAX traces.

    Args:
        build: `build(rngs) -> module`.

    Returns:
        `init(key) -> params` and `bind(params) -> module`.

    Example:
        >>> init, bind = functional(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
        >>> bind(init(jax.random.key(0)))(jax.numpy.ones((5, 2))).shape
        (5, 3)
    """
    graph, abstract = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: jax.Array) -> dict[str, Any]:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key))))

    def bind(params: dict[str, Any]) -> Module:
        state = nnx.State(abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)

    return init, bind
