"""What does the projection cost? Against a program that moves the bytes which it must move.

It reads both gradients for its inner products, reads them again, and writes the result: five times
the bytes of the parameters. The floor does just that: a sum over both, then an update in place (a
copy that is not donated would measure the allocator). A span of k retain gradients moves 2 k + 3
times the parameters, and has a floor of its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import paired
import tyro
from jax.flatten_util import ravel_pytree

from gsu_jax.surgery import project_conflicting

LEAVES = 8
FLOOR, LEAFWISE, RAVELLED, SPAN = "floor", "leaf by leaf", "ravelled", "span"


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    sizes: tuple[int, ...] = (100_000, 1_000_000, 10_000_000, 100_000_000)
    """Parameters, float32, in eight leaves."""
    spans: tuple[int, ...] = (4, 8, 32)
    """Retain gradients of a span (one is what the other rows have); left out where size times span
    is over `most`."""
    most: int = 80_000_000
    """Values in the retain gradients at most."""
    rounds: int = 9
    """Times that each is timed."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/projection.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "rounds", "most")
        for name, least in (("sizes", LEAVES), ("spans", 2)):
            if min(getattr(self, name), default=least) < least:
                raise ValueError(
                    f"{name} must be at least {least} each, found {getattr(self, name)}."
                )


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    before = paired.load()
    rows = [row for size in arguments.sizes for row in measured(size, arguments)]
    print(table(rows))
    paired.write(arguments, "projection", f"float32, {LEAVES} leaves", rows, before)


def leafwise(updates: Any, retain: Any) -> Any:
    """`project_conflicting` as a chain runs it."""
    transform = project_conflicting()
    return transform.update(updates, transform.init(updates), retain_grads=retain)[0]


def ravelled(updates: Any, retain: Any) -> Any:
    """The definition: both gradients as single vectors."""
    u, unravel = ravel_pytree(updates)
    r, _ = ravel_pytree(retain)
    return unravel(u - (jnp.dot(u, r) / jnp.dot(r, r)) * r)


def floor(updates: Any, retain: Any) -> Any:
    """As many bytes: each array is read for a sum, and again for an update in its place."""
    total = sum(jnp.sum(x) for x in jax.tree.leaves((updates, retain)))

    def update(u, r):
        # The rows of a span written out: XLA's sum over a short leading axis is slow on CPUs.
        return u + total * (sum(r) if r.ndim > u.ndim else r)

    return jax.tree.map(update, updates, retain)


def measured(size: int, arguments: Arguments) -> list[dict[str, Any]]:
    """A row for each kind of projection of so many parameters, all timed in the same rounds."""
    one = {FLOOR: floor, LEAFWISE: leafwise, RAVELLED: ravelled}
    kinds = {name: (1, function, FLOOR) for name, function in one.items()}
    for k in arguments.spans:
        if k * size <= arguments.most:
            own_floor = f"{FLOOR} of {k}"
            kinds[own_floor] = (k, floor, own_floor)
            kinds[f"{SPAN} of {k}"] = (k, leafwise, own_floor)
    updates = gradients(size, 0)
    retain = {k: gradients(size, k) for k in {k for k, _, _ in kinds.values()}}
    clocks = {
        name: partial(seconds, jax.jit(function, donate_argnums=0), updates, retain[k])
        for name, (k, function, _) in kinds.items()
    }
    times = paired.time_rounds(clocks, arguments.rounds)
    return [
        {
            "projection": name,
            "parameters": size,
            "bytes": 4 * size * (2 * k + 3),
            "milliseconds": paired.spread([1e3 * one[name] for one in times]),
            "ratio": paired.ratios(times, name, base=own_floor),
        }
        for name, (k, _, own_floor) in kinds.items()
    ]


def gradients(size: int, k: int) -> dict[str, jax.Array]:
    """Noise in eight leaves; for k above 1 each of them k times, along a leading axis."""
    shape = (k, size // LEAVES) if k > 1 else (size // LEAVES,)
    draw = jax.jit(jax.random.normal, static_argnums=1)
    keys = jax.random.split(jax.random.key(k), LEAVES)
    return {f"leaf{i}": draw(key, shape) for i, key in enumerate(keys)}


def seconds(program: Callable, updates: Any, retain: Any) -> float:
    """Of one call; the donated updates are copied before the clock starts."""
    own = jax.block_until_ready(jax.tree.map(jnp.copy, updates))
    start = time.perf_counter()
    jax.block_until_ready(program(own, retain))
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        ("parameters", "projection", "ms", "(min .. max)", "GB/s", "x its floor", "(min .. max)")
    ]
    for one in rows:
        times, over = paired.with_range(one["milliseconds"]), paired.with_range(one["ratio"])
        rate = one["bytes"] / one["milliseconds"]["median"] / 1e6
        cells = (f"{one['parameters']:.0e}", one["projection"])
        lines.append((*cells, *times, f"{rate:.1f}", *over))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
