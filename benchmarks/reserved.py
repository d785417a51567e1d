"""The memory that XLA reserves for a step, read from its compiled program."""

from collections.abc import Callable
from typing import Any

import jax

MIB = 2**20


def bytes_of_step(step: Callable, call: tuple) -> dict[str, int]:
    """What XLA reserves for one step, its carry donated, from the analysis of its program."""
    carry, inputs, constants = call
    first = jax.tree.map(lambda x: x[0], inputs)
    program = jax.jit(step, donate_argnums=0).lower(carry, first, constants).compile()
    found = program.memory_analysis()
    arguments, own = found.argument_size_in_bytes, found.temp_size_in_bytes
    outputs = found.output_size_in_bytes - found.alias_size_in_bytes
    return {
        "argument_bytes": arguments,
        "intermediate_bytes": own,
        "peak_bytes": arguments + own + outputs,
    }


def memory_over(memory: dict[str, int], base: dict[str, int]) -> dict[str, Any]:
    """The bytes of a step, and its peak over that of `base`; nothing if none were read."""
    if not memory:
        return {}
    return memory | {"memory_over_summed": memory["peak_bytes"] / base["peak_bytes"]}
