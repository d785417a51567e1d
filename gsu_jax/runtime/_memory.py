"""Out of memory: what a program needs, what the device has, and what to lower to how much."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from gsu_jax.runtime._jax_internals import is_out_of_memory


@dataclass(frozen=True)
class ProgramMemory:
    """The bytes that a compiled program needs.

    Attributes:
        arguments: Of its arguments.
        results: Of its results, without those that reuse the memory of a donated argument.
        intermediates: Of all values in between.
    """

    arguments: int
    results: int
    intermediates: int

    @classmethod
    def of(cls, program: Callable | None) -> "ProgramMemory | None":
        """Reads the memory analysis of a compiled program; None if there is none."""
        analysis = getattr(program, "memory_analysis", lambda: None)()
        if analysis is None:
            return None
        return cls(
            analysis.argument_size_in_bytes,
            analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
            analysis.temp_size_in_bytes,
        )

    @property
    def total(self) -> int:
        """The bytes needed at once, at most."""
        return self.arguments + self.results + self.intermediates

    def __str__(self) -> str:
        return (
            f"{_readable(self.total)} ({_readable(self.arguments)} of arguments, "
            f"{_readable(self.intermediates)} of intermediate values, "
            f"{_readable(self.results)} of results)"
        )


class OutOfMemory(MemoryError, ValueError):
    """A program does not fit into the memory of its device.

    Inside `unlearn`, `sweep` and `train_epoch` the message says what to lower to how much.

    Attributes:
        needed: The `ProgramMemory`, if XLA gave it.
    """

    needed: ProgramMemory | None = None


def device_memory() -> int | None:
    """Returns the bytes that JAX may use on a device (on a CPU those of the machine), or None."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats or jax.default_backend() != "cpu":
        return stats.get("bytes_limit")
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf.
        return None


def check_fits(program: Callable) -> None:
    """Raises `OutOfMemory` if a program for a CPU needs more than the memory of the machine.

    The operating system would end the process without a message. An accelerator raises by itself.
    """
    needed, memory = ProgramMemory.of(program), device_memory()
    if jax.default_backend() == "cpu" and needed and memory and needed.total > memory:
        raise _out_of_memory(needed)


@contextmanager
def raise_out_of_memory(program: Callable | None = None) -> Iterator[None]:
    """Raises `OutOfMemory` in place of XLA's RESOURCE_EXHAUSTED.

    Args:
        program: The compiled program that runs in the block, for its memory analysis.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        message = str(error).splitlines()[0]
        raise _out_of_memory(ProgramMemory.of(program), f" (XLA: {message})") from error


@contextmanager
def explain_out_of_memory(models: int = 1, **batch_sizes: int) -> Iterator[None]:
    """Adds to an `OutOfMemory` of the block what to lower to about how much.

    Args:
        models: How many models the programs of the block hold at once.
        **batch_sizes: The batch sizes that intermediate values grow with, by argument name.

    Raises:
        OutOfMemory: A program of the block does not fit.
    """
    try:
        with raise_out_of_memory():  # also for what runs outside a compiled program
            yield
    except OutOfMemory as error:
        advised = advice(error.needed, device_memory(), models, batch_sizes)
        raise OutOfMemory(f"{error}; {advised}") from error


def advice(
    needed: ProgramMemory | None, memory: int | None, models: int, batch_sizes: Mapping[str, int]
) -> str:
    """Returns what to lower to about how much: to half if the excess is not known."""
    batch_share = models_share = 0.5
    if needed is not None and memory is not None and needed.total > memory:
        batch_share = (memory - needed.arguments - needed.results) / max(needed.intermediates, 1)
        models_share = memory / needed.total
    ways = []
    if batch_share > 0 and batch_sizes:
        lowered = (
            f"{name} from {size} to about {max(int(batch_share * size), 1)}"
            for name, size in batch_sizes.items()
        )
        ways.append(f"lower {' and '.join(lowered)}")
    if models > 1:
        ways.append(f"take {max(int(models_share * models), 1)} models at once, not {models}")
    return " or ".join(ways) or "take fewer images or a smaller model"


def _out_of_memory(needed: ProgramMemory | None, reason: str = "") -> OutOfMemory:
    text = "the program does not fit on the device"
    if needed is not None:
        memory = device_memory()
        available = "" if memory is None else f", the device has {_readable(memory)}"
        text = f"the program needs {needed}{available}"
    error = OutOfMemory(f"out of memory: {text}{reason}")
    error.needed = needed
    return error


def _readable(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.2f} MiB"
