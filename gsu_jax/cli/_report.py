"""`python -m gsu_jax report RUN/results.json`: prints the Markdown table of a study."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gsu_jax.report import markdown_table, read_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 0, or 2 after an error on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m gsu_jax report", description="Prints the Markdown table of a study."
    )
    parser.add_argument(
        "results", type=Path, metavar="RUN/results.json", help="that file, or the folder of a run"
    )
    path = parser.parse_args(arguments).results
    path = path / "results.json" if path.is_dir() else path
    try:
        table = markdown_table(read_results(path))
    except FileNotFoundError:
        return _refusal(f"there is no {path}; give the results.json of a run, or its --out.")
    except (OSError, ValueError) as error:
        return _refusal(str(error))
    sys.stdout.reconfigure(encoding="utf-8")
    print(table, end="")
    return 0


def _refusal(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
