"""`ResultsFile`: the rows of a study so far, on disk and whole after every row."""

import json
import os
from pathlib import Path
from typing import Any

from gsu_jax.metrics import SECOND_METRICS
from gsu_jax.report import compare, read_results, residual_shares, summarize, write_results
from gsu_jax.runtime import all_gather_json, on_first_process
from gsu_jax.storage import differences
from gsu_jax.study._config import SECOND
from gsu_jax.study._method_records import without_retired

Record = dict[str, Any]
GROWING = ("seeds", "ensemble")  # counts that a later run may raise


class ResultsFile:
    """`results.json` of a study.

    The file holds the study's config from the first moment, so that a later run can tell whether it
    continues the same study. A later run may add methods, seeds and retrained models.

    Attributes:
        path: of the file.
        content: what the file holds, with the rows so far.
    """

    def __init__(self, folder: str | os.PathLike, content: Record) -> None:
        self.path = Path(folder) / "results.json"
        # As JSON gives it back (tuples are lists), so that configs can be compared.
        content = json.loads(json.dumps(content))
        _check_processes(content)
        self.content = self._merged_with_earlier(content)
        self._summarize()
        if not self._exists():
            self._write()

    def save(self) -> None:
        """Writes the content, with its summary and comparison, whole or not at all."""
        self._summarize()
        self._write()

    def _summarize(self) -> None:
        shares = residual_shares(self.content)
        self.content["summary"] = [*summarize(self.content["rows"]), *shares]
        self.content["comparison"] = compare(self.content)

    def has_row(self, method: str, seed: int) -> bool:
        """Returns whether that row is finished."""
        return any((r["method"], r["seed"]) == (method, seed) for r in self.content["rows"])

    def add_row(self, row: Record) -> None:
        """Adds a finished row in the order of the config's methods, and saves."""
        order = {name: i for i, name in enumerate(self.content["config"]["methods"])}
        self.content["rows"] = sorted(
            [*self.content["rows"], row], key=lambda r: (order[r["method"]], r["seed"])
        )
        self.save()

    def add_to_row(self, method: str, seed: int, metrics: Record, keep: bool = False) -> None:
        """Adds metrics to a finished row, and saves; with `keep` those that it has stay."""
        for row in self.content["rows"]:
            if (row["method"], row["seed"]) == (method, seed):
                row |= metrics | (row if keep else {})
        self.save()

    def made_with(self, *names: str, method: str | None = None) -> Record:
        """Returns what an artifact depends on: the data, these settings and a method's record."""
        config = self.content["config"]
        made_with = {"data": config["data"]["fingerprint"]} | {n: config[n] for n in names}
        if "forget" in names and "listed" in config["data"]:
            made_with["listed"] = config["data"]["listed"]
        return made_with | ({"method": config["methods"][method]} if method else {})

    @on_first_process
    def is_newer_than(self, path: Path) -> bool:
        """Returns whether the results changed after the file `path` was written, if it was."""
        return not path.exists() or path.stat().st_mtime_ns <= self.path.stat().st_mtime_ns

    @on_first_process
    def _exists(self) -> bool:
        return self.path.exists()

    @on_first_process
    def _write(self) -> None:
        write_results(self.path, self.content)

    @on_first_process
    def _merged_with_earlier(self, content: Record) -> Record:
        """Returns `content` with the rows, methods and counts of an earlier run in the folder."""
        if not self.path.exists():
            return content
        earlier = read_results(self.path)
        _check_earlier(self.path, earlier)
        old, new = earlier["config"], content["config"]
        old["methods"] = {row: without_retired(m) for row, m in old["methods"].items()}
        # A second judge changes no model: a study may get one until a row has its figures.
        judged = any(row.keys() & {*SECOND_METRICS} for row in earlier["rows"])
        _check_same_config(self.path, old, new, free=() if judged else SECOND)
        content["rows"] = earlier["rows"]
        if earlier.get("reference"):
            content["reference"] = earlier["reference"]
            if "second_judge" not in new:
                content["reference"].pop("second_judge", None)
        new["methods"] = old["methods"] | new["methods"]
        if "before" in new:
            new["before"] = old["before"] | new["before"]
        if metrics := [*earlier.get("metrics", []), *content.get("metrics", [])]:
            content["metrics"] = [*dict.fromkeys(metrics)]
        new |= {name: max(old.get(name, 0), new[name]) for name in GROWING if name in new}
        return content


def _check_processes(content: Record) -> None:
    """Raises ValueError if another process runs another study, or has other images."""
    mine = content["config"] | {
        "mesh": content.get("environment", {}).get("mesh"),
        "metrics": content.get("metrics"),
    }
    first, *others = all_gather_json(mine)
    for number, other in enumerate(others, 1):
        if names := [name for name in first | other if first.get(name) != other.get(name)]:
            raise ValueError(
                f"process {number} runs another study than process 0: its {', '.join(names)} "
                "differ; give all the same arguments, release and data"
            )


def _check_earlier(path: Path, earlier: Record) -> None:
    """Raises ValueError if a results.json is not that of a study."""
    fix = "delete it to have it made again from the checkpoints, or give another --out"
    config = earlier.get("config")
    if (
        not isinstance(config, dict)
        or not isinstance(config.get("methods"), dict)
        or not isinstance(config.get("seeds"), int)
    ):
        raise ValueError(f"{path} has no config of a study with 'methods' and 'seeds'; {fix}")
    for i, row in enumerate(earlier["rows"]):
        if row["method"] not in config["methods"] or not isinstance(row.get("seed"), int):
            raise ValueError(
                f"{path}: rows[{i}] is of method {row['method']!r}, seed {row.get('seed')!r}, "
                f"which its config does not have; {fix}"
            )


def _check_same_config(path: Path, old: Record, new: Record, free: tuple[str, ...]) -> None:
    """Raises ValueError if anything but the counts, the set of methods and `free` differs."""
    shared = {
        name: old[name].keys() & new[name].keys()
        for name in ("methods", "before")
        if name in old and name in new
    }

    def fixed(config: Record) -> Record:
        common = {name: {k: config[name][k] for k in keys} for name, keys in shared.items()}
        return {k: v for k, v in config.items() if k not in (*GROWING, *free)} | common

    if found := list(differences(fixed(old), fixed(new))):
        raise ValueError(
            f"--out {path.parent} holds a study with another config:\n  "
            + "\n  ".join(found)
            + "\nMore seeds or methods extend a study; for any other change give another --out"
        )
