"""The folder of one study: its results so far, its parts, its log, and who may write to it."""

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gsu_jax.report import compare, read_results, summarise, write_results
from gsu_jax.runtime import (
    all_gather_json,
    broadcast_arrays,
    broadcast_from_first,
    is_first,
    to_host,
)
from gsu_jax.storage import _checkpoints as checkpoints

Row = dict[str, Any]
CHECKPOINTS = "checkpoints"
GROWING = {"seeds", "ensemble"}  # what a later run may raise


class Workspace:
    """Everything a study keeps under `--out`; a finished row is on disk before the next begins.

    `results.json` is there from the first moment with the config of the study, so that a later
    run can tell whether it goes on with the same one. Each trained network is a part, kept as a
    checkpoint with what it was made with: no part made otherwise is ever taken for it.

    Attributes:
      folder: the root.
      results: as in results.json, with the rows so far.
      lender: the folder of another study, whose parts `borrow_part` may copy; or None.
    """

    def __init__(
        self, folder: str | os.PathLike, results: Row, lender: str | os.PathLike | None = None
    ) -> None:
        self.folder = Path(folder)
        self.lender = None if lender is None else Path(lender)
        # As it comes back from JSON (tuples are lists), so that configs can be compared.
        self.results = json.loads(json.dumps(results))
        _check_processes(self.results)
        self.results = broadcast_from_first(self._opened)

    def _opened(self) -> Row:
        """The results with those of the folder, where there are some."""
        results, path = self.results, self.folder / "results.json"
        if path.exists():
            earlier = read_results(path)
            _check_earlier(path, earlier)
            _same_config(path, earlier, results)
            results["rows"] = earlier["rows"]
            if earlier.get("reference"):
                results["reference"] = earlier["reference"]
            methods = earlier["config"]["methods"] | results["config"]["methods"]
            results["config"]["methods"] = methods
            for name in GROWING & results["config"].keys():
                counts = (config["config"].get(name, 0) for config in (earlier, results))
                results["config"][name] = max(counts)
        else:
            self.save()
        return results

    def save(self) -> None:
        """Writes results.json, with its summary and comparison, whole or not at all."""
        self.results["summary"] = summarise(self.results["rows"])
        self.results["comparison"] = compare(self.results["rows"])
        path = self.folder / "results.json"
        broadcast_from_first(lambda: write_results(path, self.results))

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

    def is_newer_than(self, path: Path) -> bool:
        """Whether the results changed after the file `path` was written, if it ever was."""
        results = self.folder / "results.json"
        return broadcast_from_first(
            lambda: not path.exists() or path.stat().st_mtime_ns <= results.stat().st_mtime_ns
        )

    def has_part(self, name: str) -> bool:
        """Whether that part is finished."""
        return broadcast_from_first(lambda: checkpoints.exists(self._checkpoint(name)))

    def save_part(self, name: str, tree: Any, facts: Row, made_with: Row) -> None:
        """Keeps a pytree of arrays, and facts that fit JSON.

        Args:
          name: of the part.
          tree: the arrays.
          facts: what `part_facts` gives back.
          made_with: all that it depends on, as JSON has it.
        """
        tree, metadata = to_host(tree), {"made_with": made_with, "facts": facts}
        path = self._checkpoint(name)
        broadcast_from_first(lambda: checkpoints.save(path, tree, metadata=metadata))

    def part_facts(self, name: str, made_with: Row) -> Row:
        """The facts of a part, read without its arrays.

        Raises:
          ValueError: it is damaged, or was made with something else.
        """
        return broadcast_from_first(lambda: _facts(self._checkpoint(name), made_with))

    def borrow_part(self, name: str, like: Any, made_with: Row) -> None:
        """Copies a part that is missing here from the lender, where it has one made with the same.

        One that is damaged there, or was made with something else, costs a line in the log.
        """
        broadcast_from_first(lambda: self._borrow(name, like, made_with))

    def _borrow(self, name: str, like: Any, made_with: Row) -> None:
        if self.lender is None or self.has_part(name):
            return
        path = self.lender / CHECKPOINTS / name
        try:
            facts, tree = _facts(path, made_with), checkpoints.load(path, like)
        except ValueError as error:
            self.log("not borrowed", part=name, reason=str(error))
            return
        self.save_part(name, tree, facts, made_with)
        self.log("borrowed", part=name, path=str(path))

    def load_part(self, name: str, like: Any) -> Any:
        """The arrays of a part, each verified; `like` has their structure, shapes and dtypes."""
        path = self._checkpoint(name)
        return broadcast_arrays(lambda: checkpoints.load(path, like), like)

    def remove_part(self, name: str) -> None:
        """Removes a part if it is there."""
        broadcast_from_first(lambda: checkpoints.remove(self._checkpoint(name)))

    def log(self, event: str, **facts: Any) -> None:
        """Appends one line to log.jsonl; NaN and infinity become null, as in results.json."""
        if not is_first():
            return
        entry = {"time": round(time.time(), 3), "event": event} | facts
        line = json.dumps(_with_null_for_nan(entry), allow_nan=False)
        path = self.folder / "log.jsonl"
        try:
            # A kill can leave a half line behind; what follows it must not be lost with it.
            torn = path.exists() and path.stat().st_size and not _ends_with_newline(path)
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" * bool(torn) + line + "\n")
        except OSError as error:
            raise OSError(
                f"cannot write {path}: {error.strerror or error}. Check free space and "
                "permissions; the same command again goes on from here."
            ) from error

    def _checkpoint(self, name: str) -> Path:
        return self.folder / CHECKPOINTS / name


def check_lender(folder: str | os.PathLike) -> None:
    """Raises ValueError where `folder` holds no checkpoint that a study could borrow."""
    broadcast_from_first(lambda: _check_lender(folder))


def _check_lender(folder: str | os.PathLike) -> None:
    if not any((Path(folder) / CHECKPOINTS).glob(f"*/{checkpoints.MANIFEST}")):
        what = "holds no checkpoints" if Path(folder).is_dir() else "is no folder"
        raise ValueError(f"--models-from {folder} {what}; give the --out of another study.")


def _check_processes(results: Row) -> None:
    """Raises ValueError where another process runs another study, or has other images."""
    mine = results["config"] | {"mesh": results.get("environment", {}).get("mesh")}
    first, *others = all_gather_json(mine)
    for number, other in enumerate(others, 1):
        # Not through _differences, which leaves out what may grow.
        if names := [name for name in first | other if first.get(name) != other.get(name)]:
            raise ValueError(
                f"process {number} runs another study than process 0: its {', '.join(names)} "
                "differ. Give all the same arguments, release and data."
            )


def _with_null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_null_for_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_null_for_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _check_earlier(path: Path, earlier: Row) -> None:
    """What `read_results` does not know: that the rows are those of a study."""
    fix = "Delete it to have it made again from the checkpoints, or give another --out."
    config = earlier.get("config")
    if (
        not isinstance(config, dict)
        or not isinstance(config.get("methods"), dict)
        or not isinstance(config.get("seeds"), int)
    ):
        raise ValueError(f"{path} has no config of a study with 'methods' and 'seeds'. {fix}")
    for i, row in enumerate(earlier["rows"]):
        if row["method"] not in config["methods"] or not isinstance(row.get("seed"), int):
            raise ValueError(
                f"{path}: rows[{i}] is of method {row['method']!r}, seed {row.get('seed')!r}, "
                f"which its config does not have. {fix}"
            )


def _facts(path: Path, made_with: Row) -> Row:
    """The facts of the checkpoint `path`, if it was made with just that."""
    metadata = checkpoints.read_metadata(path)
    differences = list(_differences("", metadata.get("made_with", {}), made_with))
    if differences:
        raise ValueError(
            f"checkpoint {path} is of another study:\n  "
            + "\n  ".join(differences)
            + "\nDelete this folder to have it made again, or give another --out."
        )
    return metadata["facts"]


def _same_config(path: Path, earlier: Row, wanted: Row) -> None:
    """Only more seeds and more methods may differ."""
    differences = list(_differences("", earlier["config"], wanted["config"]))
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
            if inner in GROWING or (place == "methods" and not (name in old and name in new)):
                continue
            yield from _differences(inner, old.get(name), new.get(name))
    elif old != new:
        yield f"{place}: {old!r} there, {new!r} now"
