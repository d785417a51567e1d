"""Functions that are compiled before they are called, so that compiling is timed apart."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

from gsu_jax.processes import meet_before


class Compiled:
    """A compiled program for each signature of its arguments, kept from call to call.

    A signature is what a program depends on: structure, shapes, dtypes and shardings.

    Args:
      build: `build(*arguments)` returns the program for arguments of that signature.
    """

    def __init__(self, build: Callable[..., Callable]) -> None:
        self._build = build
        self._programs: dict[Hashable, Callable] = {}

    def compile(self, *arguments: Any) -> float:
        """Compiles for these arguments where that is not done yet; returns the seconds it took."""
        signature = _signature(arguments)
        if signature in self._programs:
            return 0.0
        start = time.perf_counter()
        self._programs[signature] = self._build(*arguments)
        return time.perf_counter() - start

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program; does not wait for the device."""
        self.compile(*arguments)
        return self._programs[_signature(arguments)](*arguments)


def jitted(function: Callable, **options: Any) -> Compiled:
    """`jax.jit(function, **options)` as a `Compiled`."""
    return Compiled(lambda *arguments: jax.jit(function, **options).lower(*arguments).compile())


def timed(compiled: Compiled, *arguments: Any) -> tuple[Any, float, float]:
    """The result, the seconds of the run (device synchronised), and those of compiling before."""
    compile_seconds = compiled.compile(*arguments)
    meet_before(arguments)
    start = time.perf_counter()
    result = jax.block_until_ready(compiled(*arguments))
    return result, time.perf_counter() - start, compile_seconds


def _signature(arguments: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    kinds = map(jax.typeof, leaves)
    shardings = (getattr(leaf, "sharding", None) for leaf in leaves)
    # Not the whole type: a weakly typed array runs in the same program.
    return structure, *((kind.shape, kind.dtype) for kind in kinds), *shardings
