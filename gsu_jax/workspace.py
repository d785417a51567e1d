"""The folder of one study: its results so far, its log, and who may write to it."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gsu_jax.report import read_results, summarise, write_results

try:
    import fcntl
except ImportError:  # Windows has no flock: there two runs in one folder are not held apart.
    fcntl = None

Row = dict[str, Any]


class Workspace:
    """Everything a study keeps under `--out`; a finished row is on disk before the next begins.

    `results.json` is there from the first moment with the config of the study, so that a later
    run can tell whether it goes on with the same one.

    Attributes:
      folder: the root.
      results: as in results.json, with the rows so far.
    """

    def __init__(self, folder: str | os.PathLike, results: Row) -> None:
        self.folder = Path(folder)
        # As it comes back from JSON (tuples are lists), so that configs can be compared.
        results = self.results = json.loads(json.dumps(results))
        path = self.folder / "results.json"
        if path.exists():
            earlier = read_results(path)
            _same_config(path, earlier, results)
            self.results["rows"] = earlier["rows"]
            self.results["reference"] = earlier.get("reference") or results["reference"]
            methods = earlier["config"]["methods"] | results["config"]["methods"]
            seeds = max(earlier["config"]["seeds"], results["config"]["seeds"])
            self.results["config"] |= {"methods": methods, "seeds": seeds}
        else:
            self.save()

    def save(self) -> None:
        """Writes results.json, with its summary, whole or not at all."""
        self.results["summary"] = summarise(self.results["rows"])
        write_results(self.folder / "results.json", self.results)

    def has_row(self, method: str, seed: int) -> bool:
        """Whether that row is finished."""
        return any((r["method"], r["seed"]) == (method, seed) for r in self.results["rows"])

    def add_row(self, row: Row) -> None:
        """Adds a finished row in the order of the config's methods and saves the results."""
        order = {name: i for i, name in enumerate(self.results["config"]["methods"])}
        self.results["rows"] = sorted(
            [*self.results["rows"], row], key=lambda r: (order[r["method"]], r["seed"])
        )
        self.save()

    def checkpoint(self, name: str) -> Path:
        """Where the checkpoint of that name lies."""
        return self.folder / "checkpoints" / name

    def log(self, event: str, **facts: Any) -> None:
        """Appends one line to log.jsonl."""
        line = json.dumps({"time": round(time.time(), 3), "event": event} | facts)
        path = self.folder / "log.jsonl"
        # A kill can leave a half line behind; what follows it must not be lost with it.
        torn = path.exists() and path.stat().st_size and not _ends_with_newline(path)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * bool(torn) + line + "\n")


@contextmanager
def exclusive(folder: str | os.PathLike) -> Iterator[Path]:
    """Makes `folder` and holds it against a second run until the block ends (or the process does).

    Raises:
      OSError: the folder cannot be made or written.
      ValueError: another process is at work in it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise OSError(
            f"--out {folder} cannot be written ({error.strerror}); choose a folder that can."
        ) from error
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ValueError(
                    f"--out {folder} is in use by another run; wait for it or choose another."
                ) from error
        yield folder


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _same_config(path: Path, earlier: Row, wanted: Row) -> None:
    """Only more seeds and more methods may differ."""
    old, new = earlier.get("config"), wanted["config"]
    if not isinstance(old, dict) or not isinstance(old.get("methods"), dict):
        raise ValueError(f"{path} has no config of a study; choose another --out.")
    differences = list(_differences("", old, new))
    if earlier["experiment"] != wanted["experiment"]:
        differences.insert(
            0, f"experiment: {earlier['experiment']} there, {wanted['experiment']} now"
        )
    if differences:
        raise ValueError(
            f"--out {path.parent} holds a study with another config:\n  "
            + "\n  ".join(differences)
            + "\nMore seeds or methods extend a study; for any other change give another --out."
        )


def _differences(place: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{place}.{name}" if place else name
            if inner == "seeds" or (place == "methods" and not (name in old and name in new)):
                continue
            yield from _differences(inner, old.get(name), new.get(name))
    elif old != new:
        yield f"{place}: {old!r} there, {new!r} now"
