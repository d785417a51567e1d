"""What a compiled program exchanges between devices, counted from its own text."""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8, "bf16": 16}  # of the types whose name does not end in its bits


class Collective(NamedTuple):
    """One exchange between devices.

    Attributes:
        kind: One of `KINDS`.
        shapes: The shapes of the results on each device.
        bytes: The size of all results.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int


def collectives(compiled: Any) -> list[Collective]:
    """Lists the collectives in a compiled program, `jax.jit(f).lower(...).compile()`.

    Lists one inside a loop once. Of an asynchronous pair, counts `-start` and skips `-done`.
    """
    return list(_parsed(compiled.as_text()))


def _parsed(text: str) -> Iterator[Collective]:
    pattern = rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\("
    for line in text.splitlines():
        if found := re.search(pattern, line):
            arrays = re.findall(r"([a-z]+)(\d*)\[([\d,]*)\]", found[1])
            shapes = tuple(tuple(map(int, filter(None, a[2].split(",")))) for a in arrays)
            sizes = (math.prod(shape) * _bits(a) for a, shape in zip(arrays, shapes, strict=True))
            yield Collective(found[2], shapes, sum(sizes) // 8)


def _bits(array: tuple[str, str, str]) -> int:
    name = array[0] + array[1]
    return BITS.get(name) or int(array[1])
