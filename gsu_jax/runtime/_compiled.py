"""Functions that are compiled before they are called, so that compiling is timed apart."""

import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from gsu_jax.runtime._memory import check_fits, raise_out_of_memory
from gsu_jax.runtime._processes import barrier_before
from gsu_jax.runtime._progress import activity


class Compiled:
    """`jax.jit(function)` with one compiled program for each signature of its arguments.

    A signature is what a program depends on: structure, shapes, dtypes and shardings.

    Args:
        function: A function that JAX can trace.

    Example:
        >>> double = Compiled(lambda x: 2 * x)
        >>> double.compile(jnp.zeros(2)) > 0
        True
        >>> double.compile(jnp.ones(2))
        0.0
        >>> double(jnp.ones(2)).tolist()
        [2.0, 2.0]
    """

    def __init__(self, function: Callable) -> None:
        self._jit = jax.jit(function)  # a single one, since it keeps what it has traced
        self._programs: dict[Hashable, Callable] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program, compiles it first if necessary, and waits for the device.

        Raises:
            OutOfMemory: The program does not fit on the device.
        """
        self.compile(*arguments)
        program = self._programs[_signature(arguments)]
        with raise_out_of_memory(program):
            return jax.block_until_ready(program(*arguments))

    def compile(self, *arguments: Any) -> float:
        """Compiles for these arguments, or for their shapes; returns the seconds, 0 if known.

        Raises:
            OutOfMemory: The program does not fit on the device.
        """
        if self.is_compiled(*arguments):
            return 0.0
        with activity("compiling"):
            start = time.perf_counter()
            self.trace(*arguments)()
            return time.perf_counter() - start

    def is_compiled(self, *arguments: Any) -> bool:
        """Returns whether a call with these arguments would compile nothing."""
        return _signature(arguments) in self._programs

    def shapes(self, *arguments: Any) -> Any:
        """Returns the shapes and dtypes of the result, placed on the default device."""
        return on_one_device(self._jit.eval_shape(*arguments))

    def trace(self, *arguments: Any) -> Callable[[], None]:
        """Traces the program in this thread; returns a function that compiles it in any thread."""
        with raise_out_of_memory():
            lowered = self._jit.lower(*arguments)
        # Taken here, since `jax.enable_x64` holds for one thread.
        signature = _signature(arguments)

        def compile_lowered() -> None:
            with raise_out_of_memory():
                program = lowered.compile()
            check_fits(program)
            self._programs[signature] = program

        return compile_lowered


def compile_together(*calls: tuple[Compiled, tuple]) -> float:
    """Compiles several functions for the arguments of a call each, XLA in parallel threads.

    Traces one after the other in this thread, since tracing is Python.

    Returns:
        The seconds.
    """
    with activity("compiling"):
        start = time.perf_counter()
        with ThreadPoolExecutor(len(calls)) as threads:
            traced = (function.trace(*arguments) for function, arguments in calls)
            for running in [threads.submit(compile_traced) for compile_traced in traced]:
                running.result()
        return time.perf_counter() - start


@dataclass
class Stopwatch:
    """Adds up the seconds of a run, those of compiling apart.

    Attributes:
        seconds: Of steady running, the devices synchronized.
        compile_seconds: Of compiling.
    """

    seconds: float = 0.0
    compile_seconds: float = 0.0

    def run(self, function: Compiled, *arguments: Any) -> Any:
        """Returns `function(*arguments)`; counts its compilation and its run."""
        self.compile_seconds += function.compile(*arguments)
        barrier_before(arguments)
        with self.measure():
            return function(*arguments)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Counts the seconds of the block as running."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


def on_one_device(tree: Any) -> Any:
    """Places the shapes in a tree on the default device; other leaves stay as they are."""
    sharding = jnp.zeros(()).sharding

    def placed(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, tree)


def _signature(arguments: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    kinds = map(jax.typeof, leaves)
    shardings = (getattr(leaf, "sharding", None) for leaf in leaves)
    # Not the whole type, since a weakly typed array runs in the same program.
    return structure, *((kind.shape, kind.dtype) for kind in kinds), *shardings
