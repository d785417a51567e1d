"""Functions that are compiled before they are called, so that compiling is timed apart."""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from gsu_jax.runtime._memory import Scale, check_fits, explained
from gsu_jax.runtime._processes import barrier_before


class Compiled:
    """A compiled program for each signature of its arguments, kept from call to call.

    A signature is what a program depends on: structure, shapes, dtypes and shardings.

    Args:
      lower: `lower(*arguments)` traces the program for arguments of that signature, which may be
        shapes alone (`jax.ShapeDtypeStruct`), and returns a function that compiles it.
      scale: `scale(*arguments)`, what its memory grows with: said where it runs out of memory.
    """

    def __init__(
        self,
        lower: Callable[..., Callable[[], Callable]],
        scale: Callable[..., Scale] = lambda *arguments: Scale(),
    ) -> None:
        self._lower, self._scale = lower, scale
        self._programs: dict[Hashable, Callable] = {}

    def compile(self, *arguments: Any) -> float:
        """Compiles for these arguments where that is not done yet; returns the seconds it took.

        Raises:
          OutOfMemory: the program does not fit (see `gsu_jax.runtime`); also from a call.
        """
        start, compiling = time.perf_counter(), self.compiling(*arguments)
        if compiling is None:
            return 0.0
        compiling()
        return time.perf_counter() - start

    def compiling(self, *arguments: Any) -> Callable[[], None] | None:
        """Traces the program here and now; what is returned compiles it, in any thread.

        None where it is compiled already.
        """
        signature = _signature(arguments)
        if signature in self._programs:
            return None
        scale = self._scale(*arguments)
        with explained(None, scale):
            lowered = self._lower(*arguments)

        def finish() -> None:
            with explained(None, scale):
                program = lowered()
            check_fits(program, scale)
            self._programs[signature] = program

        return finish

    def compiled_for(self, *arguments: Any) -> bool:
        """Whether a call with these arguments would run at once."""
        return _signature(arguments) in self._programs

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program; does not wait for the device."""
        return self._run(arguments, wait=False)

    def finished(self, *arguments: Any) -> Any:
        """Runs the program and waits for the device."""
        return self._run(arguments, wait=True)

    def _run(self, arguments: tuple, wait: bool) -> Any:
        self.compile(*arguments)
        program = self._programs[_signature(arguments)]
        with explained(program, self._scale(*arguments)):
            result = program(*arguments)
            return jax.block_until_ready(result) if wait else result


class Jitted(Compiled):
    """A `Compiled` of a function, whose results are known before it is."""

    def __init__(self, function: Callable, **options: Any) -> None:
        self._jit = jax.jit(function, **options)  # one of them: it keeps what it has traced
        super().__init__(lambda *arguments: self._jit.lower(*arguments).compile)

    def shapes(self, *arguments: Any) -> Any:
        """The shapes and dtypes of its result, on the default device."""
        return on_one_device(self._jit.eval_shape(*arguments))


def jitted(function: Callable, **options: Any) -> Jitted:
    """`jax.jit(function, **options)` as a `Compiled`."""
    return Jitted(function, **options)


def on_one_device(tree: Any) -> Any:
    """Shapes in place of arrays that will lie on the default device; all else as it is."""
    sharding = jnp.zeros(()).sharding

    def placed(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(placed, tree)


def compile_together(*calls: tuple[Compiled, tuple]) -> float:
    """Compiles several programs for the arguments of a call at once; returns the seconds it took.

    Tracing is Python and takes turns; XLA compiles beside it, in threads.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor(len(calls)) as threads:
        traced = (compiled.compiling(*arguments) for compiled, arguments in calls)
        running = [threads.submit(finish) for finish in traced if finish]
        for done in running:
            done.result()
    return time.perf_counter() - start if running else 0.0


def timed(compiled: Compiled, *arguments: Any) -> tuple[Any, float, float]:
    """The result, the seconds of the run (device synchronised), and those of compiling before."""
    compile_seconds = compiled.compile(*arguments)
    barrier_before(arguments)
    start = time.perf_counter()
    result = compiled.finished(*arguments)
    return result, time.perf_counter() - start, compile_seconds


def _signature(arguments: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    kinds = map(jax.typeof, leaves)
    shardings = (getattr(leaf, "sharding", None) for leaf in leaves)
    # Not the whole type: a weakly typed array runs in the same program.
    return structure, *((kind.shape, kind.dtype) for kind in kinds), *shardings
