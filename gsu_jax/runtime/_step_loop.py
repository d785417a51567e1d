"""Training steps as one compiled loop."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Carry = Any
Step = Callable[[Carry, Any, Any], tuple[Carry, Any]]


def scan_steps(step: Step) -> Callable:
    """Returns `run(carry, inputs, constants)`, which takes one step for each row of `inputs`.

    A `jax.lax.scan` of `carry, output = step(carry, input, constants)`. `constants` (images, a
    teacher) are an argument of the program and so no part of its code.

    On a CPU, XLA runs the gradient of a convolution 22 times slower inside a loop than outside
    (1.37 s against 0.060 s a step for three strided 3x3 layers at 32x32x3, batch 128). The
    networks in `gsu_jax.networks` therefore compute convolutions as matrix products of patches; a
    model of your own with `flax.nnx.Conv` trains fast on an accelerator only.

    Args:
        step: A pure function; it may be a `jax.vmap` over several models.

    Returns:
        A function that returns the last carry and the outputs, stacked along axis 0.

    Example:
        >>> run = scan_steps(lambda total, x, factor: (total + factor * x, total))
        >>> total, before = run(jnp.float32(0), jnp.array([1.0, 2.0]), 10)
        >>> float(total), before.tolist()
        (30.0, [0.0, 10.0])
    """

    def run(carry: Carry, inputs: Any, constants: Any) -> tuple[Carry, Any]:
        return jax.lax.scan(lambda carry, x: step(carry, x, constants), carry, inputs)

    return run


def loop_steps(step: Step) -> Callable:
    """Returns `run(carry, inputs, constants, first, last)`: `scan_steps` for some rows only.

    The rows are `first` to `last - 1`; both are traced, so one program serves any number of steps.

    Args:
        step: As for `scan_steps`.

    Returns:
        A function that returns the last carry and the outputs; other rows of outputs are zero.

    Example:
        >>> run = loop_steps(lambda total, x, factor: (total + factor * x, total))
        >>> total, before = run(jnp.float32(0), jnp.array([1.0, 2.0, 3.0]), 10, 1, 3)
        >>> float(total), before.tolist()
        (50.0, [0.0, 0.0, 20.0])
    """
    step = jax.jit(step, inline=True)  # traced once, though it is called twice below

    def run(
        carry: Carry, inputs: Any, constants: Any, first: jax.Array, last: jax.Array
    ) -> tuple[Carry, Any]:
        def row(i: jax.Array | int) -> Any:
            return jax.tree.map(lambda x: x[i], inputs)

        def body(i: jax.Array, state: tuple[Carry, Any]) -> tuple[Carry, Any]:
            carry, outputs = state
            carry, output = step(carry, row(i), constants)
            return carry, jax.tree.map(lambda all_, one: all_.at[i].set(one), outputs, output)

        rows = len(jax.tree.leaves(inputs)[0])
        _, output = jax.eval_shape(step, carry, jax.eval_shape(lambda: row(0)), constants)
        zeros = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), output)
        return jax.lax.fori_loop(first, last, body, (carry, zeros))

    return run
