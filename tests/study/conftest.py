"""One finished tiny study that the tests of a worker share, and what they do to copies of it."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_study import compiled_programs_kept_in, read, run_tiny

from gsu_jax.study import _checkpointed_runs, _judge, _study


@pytest.fixture(scope="package", autouse=True)
def cache(tmp_path_factory):
    """A folder in which compiled programs are kept: each is compiled once."""
    folder = tmp_path_factory.mktemp("compiled")
    with compiled_programs_kept_in(folder):
        yield folder


@pytest.fixture(scope="package")
def finished(tmp_path_factory, cache):
    """The folder of a finished study; tests that change a study work on a copy."""
    folder = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_study, "write_report", _write_plain_report)
        run_tiny(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def plain_report(monkeypatch):
    """Replaces the report by one without plots, which take seconds."""
    monkeypatch.setattr(_study, "write_report", _write_plain_report)


def _write_plain_report(path, results, **options):
    path.write_text(" ".join(row["method"] for row in results["rows"]))


@pytest.fixture
def no_work(monkeypatch):
    """Anything that trains, unlearns, evaluates or reports fails."""

    def refuse(*arguments, **options):
        raise AssertionError("this was done already")

    for module, name in (
        (_checkpointed_runs, "train_epoch"),
        (_study, "unlearn"),
        (_judge, "evaluate"),
        (_study, "write_report"),
    ):
        monkeypatch.setattr(module, name, refuse)


@pytest.fixture(scope="session")
def files():
    """A function of a folder: the content of its files by relative path."""

    def content(folder):
        return {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    return content


@pytest.fixture(scope="session")
def forget_row():
    """A function of a study's folder, a method and a seed: removes that row of its results."""

    def forget(folder, method, seed):
        results = read(folder)
        kept = [row for row in results["rows"] if (row["method"], row["seed"]) != (method, seed)]
        assert len(kept) == len(results["rows"]) - 1
        (folder / "results.json").write_text(json.dumps(results | {"rows": kept}))

    return forget


@pytest.fixture(scope="session")
def flip_a_bit():
    """A function of a checkpoint's folder: damages its largest file."""

    def flip(checkpoint):
        data = max(checkpoint.rglob("data-*/**/*"), key=lambda p: p.is_file() and p.stat().st_size)
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)

    return flip


@pytest.fixture(scope="session")
def events():
    """A function of a study's folder and names: the events of its log with one of the names."""

    def of(folder, *names):
        lines = (folder / "log.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] in names]

    return of
