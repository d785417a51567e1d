"""Runs a benchmark as its command line does, in the process of the tests."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"


class Run(NamedTuple):
    status: int
    stdout: str
    stderr: str


def run_benchmark(benchmark: str, *arguments: str, folder: Path) -> Run:
    """Runs a benchmark as a command line in `folder` would, in this process."""
    printed, errors, status = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        patch.chdir(folder)
        patch.syspath_prepend(FOLDER)
        patch.setattr(sys, "argv", [benchmark, *arguments])
        try:
            runpy.run_path(str(FOLDER / benchmark), run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
    return Run(status, printed.getvalue(), errors.getvalue())


def written(folder: Path, benchmark: str) -> dict:
    path = folder / "benchmarks" / "results" / f"{benchmark}.json"
    return json.loads(path.read_text("utf-8"))
