"""`gsu-jax report RUN`: the results of a study in another format."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gsu_jax.cli._mistakes import Parser, report_mistake
from gsu_jax.report import csv_table, html_page, latex_table, markdown_table, read_results
from gsu_jax.storage import write_whole

FORMATS: dict[str, Callable[[dict], str]] = {
    "markdown": markdown_table,
    "latex": latex_table,
    "csv": csv_table,
    "html": html_page,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table or a page, or writes it to `--out`.

    Args:
        arguments: of the command line; None for those of this process.

    Returns:
        The exit code: 0, or 2 after an error on standard error.
    """
    parser = Parser(
        prog="gsu-jax report",
        description="Prints the results of a study: their means over seeds as a table of Markdown "
        "or LaTeX (booktabs), every row as CSV, or the page of the run as HTML.",
    )
    parser.add_argument(
        "results", type=Path, metavar="RUN", help="the folder of a run, or its results.json"
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="markdown", help="by default markdown"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where to write; by default standard output"
    )
    options = parser.read(arguments)
    path = options.results
    path = path / "results.json" if path.is_dir() else path
    try:
        text = _text(path, options.format)
        if options.out is not None:
            write_whole(options.out, text)
            return 0
    except FileNotFoundError:
        return report_mistake(f"there is no {path}; give the results.json of a run, or its --out")
    except (OSError, ValueError, ImportError) as error:
        return report_mistake(str(error))
    sys.stdout.reconfigure(encoding="utf-8")
    print(text, end="")
    return 0


def _text(path: Path, name: str) -> str:
    results, page = read_results(path), path.with_name("report.html")
    # The page of the run has samples and curves too.
    if name == "html" and page.exists() and page.stat().st_mtime >= path.stat().st_mtime:
        return page.read_text(encoding="utf-8")
    return FORMATS[name](results)
