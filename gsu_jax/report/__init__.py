"""The output of a study: `results.json`, tables, sample grids and `report.html`.

The package takes data and writes files atomically; it does not know how a study runs. It imports
rich, Jinja2, matplotlib and Pillow when they are needed.
"""

from gsu_jax.report._arena_files import write_arena_files
from gsu_jax.report._arena_front import arena_front
from gsu_jax.report._arena_objective import Aims, Level, excess, level_of, relative_figures
from gsu_jax.report._arena_standing import arena_standing, default_row
from gsu_jax.report._arena_tables import arena_csv, arena_markdown, arena_text, settings_text
from gsu_jax.report._comma_separated import csv_table
from gsu_jax.report._comparison import compare
from gsu_jax.report._described import residual_shares
from gsu_jax.report._figures import drawing
from gsu_jax.report._grids import image_grid, save_grid
from gsu_jax.report._latex import latex_table
from gsu_jax.report._markdown import markdown_table
from gsu_jax.report._page import html_page, write_report
from gsu_jax.report._requests import requests_table
from gsu_jax.report._results import read_results, write_results
from gsu_jax.report._summary import summarize
from gsu_jax.report._sweep_files import write_sweep_files
from gsu_jax.report._sweep_front import RULE, SWEPT, Point, best, pareto, points, sweep_front
from gsu_jax.report._terminal import terminal_table

__all__ = [
    "RULE",
    "SWEPT",
    "Aims",
    "Level",
    "Point",
    "arena_csv",
    "arena_front",
    "arena_markdown",
    "arena_standing",
    "arena_text",
    "best",
    "compare",
    "csv_table",
    "default_row",
    "drawing",
    "excess",
    "html_page",
    "image_grid",
    "latex_table",
    "level_of",
    "markdown_table",
    "pareto",
    "points",
    "read_results",
    "relative_figures",
    "requests_table",
    "residual_shares",
    "save_grid",
    "settings_text",
    "summarize",
    "sweep_front",
    "terminal_table",
    "write_arena_files",
    "write_report",
    "write_results",
    "write_sweep_files",
]
