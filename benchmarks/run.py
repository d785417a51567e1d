"""Runs every benchmark of this folder with its defaults, one after the other; stops at a failure.

Each prints its table and writes benchmarks/results/NAME.json. Run it on a quiet machine.
"""

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

FOLDER = Path(__file__).parent
BENCHMARKS = (
    "memory", "projection", "step", "seeds", "unlearn", "cold", "data", "scaling", "peers",
)  # fmt: skip
NEEDS = {"peers": ("torch", "torchjd")}  # what is not installed with the library


@dataclass(frozen=True)
class Arguments:
    """Which are run."""

    only: tuple[str, ...] = BENCHMARKS
    """Names of benchmarks, to leave out the others."""

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in BENCHMARKS:
                raise ValueError(
                    f"only: there is no benchmark {name!r}. There is: {', '.join(BENCHMARKS)}."
                )


def main() -> int:
    """Runs them; returns the exit status of the first that failed, or 0."""
    try:
        arguments = tyro.cli(Arguments, description=__doc__)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in arguments.only:
        missing = [need for need in NEEDS.get(name, ()) if importlib.util.find_spec(need) is None]
        if missing:
            fix = "pip install 'gsu-jax[bench]'"
            print(f"\n== {name}: left out, it needs {' and '.join(missing)}: {fix}", flush=True)
            continue
        command = [sys.executable, str(FOLDER / f"{name}.py")]
        print(f"\n== {name}\n", flush=True)
        if status := subprocess.run(command, check=False).returncode:
            print(f"error: benchmarks/{name}.py failed with status {status}.", file=sys.stderr)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
