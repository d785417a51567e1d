"""What the benchmarks share: paired rounds, their spread, and the JSON beside the printed table.

A round times every kind once, one after the other and in another order each time, so that a ratio
compares two runs of the same moment: what else the machine does falls on both.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from gsu_jax.runtime import describe_environment
from gsu_jax.storage import write_whole

Round = dict[str, float]


def time_rounds(kinds: Mapping[str, Callable[[], float]], rounds: int) -> list[Round]:
    """Times each kind once a round, after a warm-up; a kind returns the time that it took."""
    for kind in kinds.values():
        kind()  # the first call pays for compilation and memory
    names = list(kinds)
    turns = (number % len(names) for number in range(rounds))
    return [{name: kinds[name]() for name in names[turn:] + names[:turn]} for turn in turns]


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest of the rounds."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def ratios(rounds: list[Round], name: str, base: str) -> dict[str, float]:
    """The spread of a kind's time over that of `base` in the same round."""
    return spread([one[name] / one[base] for one in rounds])


def with_range(values: dict[str, float], scale: float = 1.0, digits: int = 2) -> tuple[str, str]:
    """The two cells of a spread: its median, and from where to where."""
    names = ("median", "min", "max")
    middle, low, high = (f"{scale * values[name]:.{digits}f}" for name in names)
    return middle, f"({low} .. {high})"


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as a table; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in lines
    )


def load() -> float | None:
    """The machine's load of the last minute: take it before measuring adds to it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def check_counts(arguments: Any, *names: str) -> None:
    """Raises ValueError unless each of the named settings is at least 1."""
    for name in names:
        if getattr(arguments, name) < 1:
            raise ValueError(f"{name} must be at least 1, found {getattr(arguments, name)}.")


def prepare(out: Path) -> None:
    """Makes the folder of a result before anything is measured, or says why that cannot be."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_dir():
        raise ValueError(f"out must be a file, found the folder {out}.")


def write(arguments: Any, benchmark: str, model: str, rows: list[dict], load: float | None) -> None:
    """Writes the rows to `arguments.out`, with what they were measured on."""
    result = {
        "schema": 1,
        "benchmark": benchmark,
        "model": model,
        "settings": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(arguments).items()
        },
        "environment": describe_environment() | {"cpus": os.cpu_count(), "load": load},
        "rows": rows,
    }
    write_whole(arguments.out, json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {arguments.out}")


def command_line(main: Callable[[Any], None], arguments: type, description: str) -> None:
    """Runs a benchmark from the command line; a mistake ends in one message and exit code 2."""
    try:
        main(tyro.cli(arguments, description=description))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
