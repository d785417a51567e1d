"""What a study leaves behind: `results.json`, tables, sample grids and `report.html`.

Nothing here knows how a study is run: data in, files out. Every file is written whole or not at
all, and matplotlib and Pillow are imported when they are used.
"""

from gsu_jax.report.comparison import compare
from gsu_jax.report.grids import image_grid, save_grid
from gsu_jax.report.markdown import markdown_table
from gsu_jax.report.page import write_report
from gsu_jax.report.results import read_results, summarise, write_results
from gsu_jax.report.terminal import terminal_table

__all__ = [
    "compare",
    "image_grid",
    "markdown_table",
    "read_results",
    "save_grid",
    "summarise",
    "terminal_table",
    "write_report",
    "write_results",
]
