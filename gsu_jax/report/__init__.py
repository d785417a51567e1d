"""What a study leaves behind: `results.json`, tables, sample grids and `report.html`.

Nothing here knows how a study is run: data in, files out. Every file is written whole or not at
all, and matplotlib and Pillow are imported when they are used.
"""

from gsu_jax.report._comparison import compare
from gsu_jax.report._figures import drawing
from gsu_jax.report._grids import image_grid, save_grid
from gsu_jax.report._markdown import markdown_table
from gsu_jax.report._page import write_report
from gsu_jax.report._results import read_results, summarise, write_results
from gsu_jax.report._sweep_files import write_sweep_files
from gsu_jax.report._sweep_front import RULE, Point, best, pareto, points, sweep_front
from gsu_jax.report._terminal import terminal_table

__all__ = [
    "RULE",
    "Point",
    "best",
    "compare",
    "drawing",
    "image_grid",
    "markdown_table",
    "pareto",
    "points",
    "read_results",
    "save_grid",
    "summarise",
    "sweep_front",
    "terminal_table",
    "write_report",
    "write_results",
    "write_sweep_files",
]
