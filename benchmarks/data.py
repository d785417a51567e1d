"""How long does it take to read the images? Decoded anew, against the cache of decoded arrays.

Cold: a prepared data set of TFDS through its records, every image decoded, into an empty cache
folder; and scikit-learn's digits. Cached: the same call again, which maps the arrays that the first
one left there after checking their hash. Both in one process, imports done, so that the ratio is of
reading alone; cold.py has the whole request.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import paired
import tyro

from gsu_jax.data import Source, load
from gsu_jax.data.sources import locate

COLD, CACHED = "cold", "cached"
DIGITS, USUAL = "digits", "mnist"


@dataclass(frozen=True)
class Arguments:
    """What is read, and how often."""

    datasets: tuple[str, ...] = ()
    """Names: digits, or what TFDS prepared in data_dir; by default digits, and mnist where it is
    prepared."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    rounds: int = 3
    """Times that each is read, cold and cached."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/data.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "rounds")


def main(arguments: Arguments) -> None:
    paired.prepare(arguments.out)
    before = paired.load()
    rows = [measured(name, arguments) for name in chosen(arguments)]
    print(table(rows))
    paired.write(arguments, "data", "reading, no model", rows, before)


def chosen(arguments: Arguments) -> list[str]:
    """The data sets to read; says what is missing before anything is measured."""
    for name in arguments.datasets:
        if name != DIGITS:
            locate(name, arguments.data_dir)
    if arguments.datasets:
        return list(arguments.datasets)
    try:
        locate(USUAL, arguments.data_dir)
    except ValueError as error:
        print(f"left out: {USUAL}. {error}\n")
        return [DIGITS]
    return [DIGITS, USUAL]


def measured(name: str, arguments: Arguments) -> dict[str, Any]:
    """Seconds of reading a data set whole, cold and cached in the same rounds."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)

        def read() -> Source:
            return load(name, data_dir=arguments.data_dir, cache_dir=cache)

        # The cold reading of a round leaves its arrays there for the cached one after it.
        kinds = {COLD: partial(seconds, read, cache), CACHED: partial(seconds, read, None)}
        rounds = paired.time_rounds(kinds, arguments.rounds)
        source = read()
        kept = sum(file.stat().st_size for file in cache.iterdir())
    return {
        "dataset": name,
        "images": len(source.train) + len(source.test),
        "cache_bytes": kept,
        "seconds": {kind: paired.spread([one[kind] for one in rounds]) for kind in kinds},
        "speedup": paired.ratios(rounds, COLD, CACHED),
        "rounds": rounds,
    }


def seconds(read: Callable[[], Source], emptied: Path | None) -> float:
    """Of one reading, every page of its images touched; `emptied` is cleared before the clock."""
    if emptied is not None:
        shutil.rmtree(emptied)
    start = time.perf_counter()
    source = read()
    source.train.images.max(), source.test.images.max()
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    lines = [("reading", "images", "MiB kept", "cold s", "", "cached s", "", "x faster", "")]
    for one in rows:
        times = [paired.with_range(one["seconds"][kind], digits=3) for kind in (COLD, CACHED)]
        size = f"{one['cache_bytes'] / 2**20:.1f}"
        cells = (one["dataset"], str(one["images"]), size, *times[0], *times[1])
        lines.append((*cells, *paired.with_range(one["speedup"], digits=1)))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
