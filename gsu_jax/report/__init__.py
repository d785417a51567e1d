"""The output of a study: `results.json`, tables, sample grids and `report.html`.

The package takes data and writes files atomically; it does not know how a study runs. It imports
rich, Jinja2, matplotlib and Pillow when they are needed.
"""

from gsu_jax.report._comma_separated import csv_table
from gsu_jax.report._comparison import compare
from gsu_jax.report._described import residual_shares
from gsu_jax.report._figures import drawing
from gsu_jax.report._grids import image_grid, save_grid
from gsu_jax.report._latex import latex_table
from gsu_jax.report._markdown import markdown_table
from gsu_jax.report._page import html_page, write_report
from gsu_jax.report._results import read_results, write_results
from gsu_jax.report._summary import summarize
from gsu_jax.report._sweep_files import write_sweep_files
from gsu_jax.report._sweep_front import RULE, SWEPT, Point, best, pareto, points, sweep_front
from gsu_jax.report._terminal import terminal_table

__all__ = [
    "RULE",
    "SWEPT",
    "Point",
    "best",
    "compare",
    "csv_table",
    "drawing",
    "html_page",
    "image_grid",
    "latex_table",
    "markdown_table",
    "pareto",
    "points",
    "read_results",
    "residual_shares",
    "save_grid",
    "summarize",
    "sweep_front",
    "terminal_table",
    "write_report",
    "write_results",
    "write_sweep_files",
]
