"""The edge between Flax NNX modules and the pure functions that the rest of the library sees."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

Module = TypeVar("Module", bound=nnx.Module)


def functional(
    build: Callable[[nnx.Rngs], Module],
) -> tuple[Callable[[jax.Array], dict], Callable[[dict], Module]]:
    """Splits a module once into `init(key) -> params` and `bind(params) -> module`.

    `params` is a plain nested dict of arrays, so that `jax.grad`, optax and checkpoints need to
    know nothing of Flax. `bind` is free under `jit`: it happens while tracing.
    """
    graph, abstract = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: jax.Array) -> dict[str, Any]:
        return nnx.to_pure_dict(nnx.state(build(nnx.Rngs(key))))

    def bind(params: dict[str, Any]) -> Module:
        state = nnx.State(abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)

    return init, bind
