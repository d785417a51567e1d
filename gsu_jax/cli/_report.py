"""`gsu-jax report RUN`: the results of a study in another format, or several in one table."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gsu_jax.cli._mistakes import Parser, report_mistake
from gsu_jax.report import (
    csv_table,
    html_page,
    latex_table,
    markdown_table,
    read_results,
    requests_table,
)
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
        "or LaTeX (booktabs), every row as CSV, or the page of the run as HTML. Several runs come "
        "in one Markdown table: each method on each request against the aims.",
    )
    parser.add_argument(
        "results", type=Path, metavar="RUN", nargs="+",
        help="the folder of a run, or its results.json",
    )  # fmt: skip
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="of several runs, the methods to show"
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="markdown", help="by default markdown"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where to write; by default standard output"
    )
    options = parser.read(arguments)
    paths = [path / "results.json" if path.is_dir() else path for path in options.results]
    if len(paths) > 1 and options.format != "markdown":
        return report_mistake(
            f"--format {options.format} is for one RUN, got {len(paths)}; give one, or leave it out"
        )
    if len(paths) == 1 and options.methods:
        return report_mistake("--methods chooses rows of several RUNs, got one; leave it out")
    try:
        if len(paths) > 1:
            text = requests_table([read_results(path) for path in paths], options.methods)
        else:
            text = _text(paths[0], options.format)
        if options.out is not None:
            write_whole(options.out, text)
            return 0
    except FileNotFoundError as error:
        return report_mistake(
            f"there is no {error.filename}; give the results.json of a run, or its --out"
        )
    except (OSError, ValueError, ImportError) as error:
        said = str(error)
        return report_mistake(f"--{said}" if said.startswith("methods: ") else said)
    sys.stdout.reconfigure(encoding="utf-8")
    print(text, end="")
    return 0


def _text(path: Path, name: str) -> str:
    results, page = read_results(path), path.with_name("report.html")
    # The page of the run has samples and curves too.
    if name == "html" and page.exists() and page.stat().st_mtime >= path.stat().st_mtime:
        return page.read_text(encoding="utf-8")
    return FORMATS[name](results)
