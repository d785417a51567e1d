"""The one place that decides how a run of training steps is compiled: scanned or one by one."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Carry = Any
Step = Callable[[Carry, Any, Any], tuple[Carry, Any]]


class Stepper:
    """Runs `carry, y = step(carry, x, shared)` over the leading axis of `xs`, compiled.

    A `lax.scan` over all steps, but for a step with convolutions on a CPU: XLA's CPU backend
    runs a convolution's gradient 22 times slower inside a loop (1.37 s against 0.060 s a step for
    three strided 3x3 layers at 32x32x3, batch 128), so there each step is a call of its own.
    Callers do not know which it is. Compiled programs are kept by the shapes of their arguments.

    `shared` (data, a teacher) is an argument, not a constant of the program. The carry's buffers
    are donated: `run` copies the carry it is given first, so the caller's arrays stay alive.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._programs: dict[Any, Callable] = {}

    def compile(self, carry: Carry, xs: Any, shared: Any) -> float:
        """Compiles for these arguments where that is not done yet; returns the seconds it took."""
        return self._program(carry, xs, shared)[1]

    def run(self, carry: Carry, xs: Any, shared: Any) -> tuple[Carry, Any]:
        """The last carry and the stacked `y`s. Does not wait for the device."""
        program, _ = self._program(carry, xs, shared)
        return program(jax.tree.map(jnp.copy, carry), xs, shared)

    def _program(self, carry: Carry, xs: Any, shared: Any) -> tuple[Callable, float]:
        signature = signature_of((carry, xs, shared))
        if signature in self._programs:
            return self._programs[signature], 0.0
        start = time.perf_counter()
        one = jax.jit(self._step, donate_argnums=0)
        traced = one.trace(carry, jax.tree.map(lambda x: x[0], xs), shared)
        if jax.default_backend() == "cpu" and "conv_general_dilated" in str(traced.jaxpr):
            program = _one_by_one(traced.lower().compile())
        else:
            program = (
                jax.jit(self._scan, donate_argnums=0).lower(carry, xs, shared).compile()
            )
        self._programs[signature] = program
        return program, time.perf_counter() - start

    def _scan(self, carry: Carry, xs: Any, shared: Any) -> tuple[Carry, Any]:
        return jax.lax.scan(lambda carry, x: self._step(carry, x, shared), carry, xs)


def signature_of(tree: Any) -> Any:
    """What a compiled program depends on: structure, shapes, dtypes and shardings; hashable."""
    leaves, structure = jax.tree.flatten(tree)
    kinds = [(jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in leaves]
    return structure, tuple(kinds)


def _one_by_one(compiled_step: Callable) -> Callable:
    def program(carry: Carry, xs: Any, shared: Any) -> tuple[Carry, Any]:
        ys = []
        for i in range(len(jax.tree.leaves(xs)[0])):
            carry, y = compiled_step(carry, jax.tree.map(lambda x, i=i: x[i], xs), shared)
            ys.append(y)
        return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)

    return program
