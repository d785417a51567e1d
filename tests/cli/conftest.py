import runpy
import sys

import pytest
import tiny_study


@pytest.fixture
def run(request, monkeypatch, tmp_path, capsys):
    """Runs the module's `SCRIPT` in an empty folder: exit status, standard output, standard error.

    A module that tests another command has a `run` of its own.
    """
    script = tiny_study.ROOT / "experiments" / request.module.SCRIPT
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.delenv("GSU_JAX_TRACEBACK", raising=False)

    def run(words):
        monkeypatch.setattr(sys, "argv", [script.name, *words.split()])
        status = 0
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def quiet(monkeypatch):
    """No lines of progress on standard error."""
    monkeypatch.setenv("GSU_JAX_PROGRESS", "off")


@pytest.fixture
def refuses(run, tmp_path):
    """Whether the module's `SCRIPT` ends in this message and status 2, and writes nothing."""

    def refuses(words, message):
        status, printed, errors = run(words)
        assert (status, printed) == (2, "")
        assert message in errors
        assert "Traceback" not in errors
        return list(tmp_path.iterdir()) == []

    return refuses
