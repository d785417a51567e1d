"""Out of memory, said so that one knows what to lower and by how much."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax

EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)


class OutOfMemory(MemoryError, ValueError):
    """A program does not fit into the memory of its device; the message says what to lower."""


@dataclass(frozen=True)
class Scale:
    """What the memory of a program grows with.

    Attributes:
      batches: settings that its intermediate values grow with, by name, such as `batch_size`.
      members: models that it holds at once.
    """

    batches: Mapping[str, int] = field(default_factory=dict)
    members: int = 1


@dataclass(frozen=True)
class Needs:
    """The bytes of a compiled program: arguments, results that are new, and what lies between."""

    arguments: int
    results: int
    intermediates: int

    @property
    def total(self) -> int:
        """At once, at most."""
        return self.arguments + self.results + self.intermediates

    def __str__(self) -> str:
        return (
            f"{_readable(self.total)} ({_readable(self.arguments)} of arguments, "
            f"{_readable(self.intermediates)} of intermediate values, "
            f"{_readable(self.results)} of results)"
        )


def needs(program: Callable | None) -> Needs | None:
    """From the memory analysis of a compiled program; None where it has none."""
    analysis = getattr(program, "memory_analysis", lambda: None)()
    if analysis is None:
        return None
    return Needs(
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        analysis.temp_size_in_bytes,
    )


def device_memory() -> int | None:
    """Bytes that JAX may use of a device; of a CPU, those of the machine. None where unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats or jax.default_backend() != "cpu":
        return stats.get("bytes_limit")
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf.
        return None


def check_fits(program: Callable, scale: Scale) -> None:
    """Raises `OutOfMemory` where a program needs more than all the memory of the machine.

    On CPUs alone: there the system ends the process without a word. An accelerator refuses itself.
    """
    found, memory = needs(program), device_memory()
    if jax.default_backend() == "cpu" and found and memory and found.total > memory:
        raise OutOfMemory(explain(found, memory, scale))


@contextmanager
def explained(program: Callable | None, scale: Scale) -> Iterator[None]:
    """Raises `OutOfMemory` in place of XLA's RESOURCE_EXHAUSTED.

    Args:
      program: what runs, for its memory analysis; None while it is compiled.
      scale: what its memory grows with.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not EXHAUSTED.search(str(error)):
            raise
        said = str(error).splitlines()[0]
        message = explain(needs(program), device_memory(), scale)
        raise OutOfMemory(f"{message} XLA: {said}") from error


def explain(found: Needs | None, memory: int | None, scale: Scale) -> str:
    """What is needed, what is there, and what to lower to about how much."""
    text = "out of memory: the program does not fit on the device."
    if found is not None:
        held = "" if memory is None else f", of {_readable(memory)} that the device has"
        text = f"out of memory: the program needs {found}{held}."
    # Half, where it is not known how much is too much: something else may hold the rest.
    of_batches = of_members = 0.5
    if found is not None and memory is not None and found.total > memory:
        of_batches = (memory - found.arguments - found.results) / max(found.intermediates, 1)
        of_members = memory / found.total
    ways = []
    if of_batches > 0 and scale.batches:
        ways.append(f"lower {_lowered(scale.batches, of_batches)}")
    if scale.members > 1:
        ways.append(f"take {max(int(of_members * scale.members), 1)} models at once, not "
                    f"{scale.members}")  # fmt: skip
    advice = " or ".join(ways) or "take fewer images, or a smaller model"
    return f"{text} {advice[0].upper()}{advice[1:]}."


def _lowered(settings: Mapping[str, int], share: float) -> str:
    return " and ".join(
        f"{name} from {value} to about {max(int(share * value), 1)}"
        for name, value in settings.items()
    )


def _readable(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.2f} MiB"
