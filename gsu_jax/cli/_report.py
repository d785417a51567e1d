"""`python -m gsu_jax report RUN/results.json`: prints the Markdown table of a study."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gsu_jax.cli._mistakes import Parser, report_mistake
from gsu_jax.report import markdown_table, read_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table.

    Args:
        arguments: of the command line; None for those of this process.

    Returns:
        The exit code: 0, or 2 after an error on standard error.
    """
    parser = Parser(
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
        return report_mistake(f"there is no {path}; give the results.json of a run, or its --out")
    except (OSError, ValueError) as error:
        return report_mistake(str(error))
    sys.stdout.reconfigure(encoding="utf-8")
    print(table, end="")
    return 0
