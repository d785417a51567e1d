"""`Artifacts`: the named checkpoints of a folder, each kept with what it was made with."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gsu_jax.runtime import broadcast_arrays, on_first_process, to_host
from gsu_jax.storage import _checkpoints as checkpoints
from gsu_jax.storage._manifest import MANIFEST

CHECKPOINTS = "checkpoints"
Record = dict[str, Any]


class Artifacts:
    """The artifacts of a folder and its log: trees of arrays, with their facts and provenance.

    An artifact is a checkpoint, a record of facts, and the record `made_with` of everything that
    it depends on: an artifact with another `made_with` is refused. Every method is to be called by
    all processes; process 0 does the work and every process gets the answer.

    Attributes:
        folder: the root; artifacts lie in `checkpoints/` under it, the log is `log.jsonl`.
        lender: the folder of other artifacts, which `borrow` may copy; or None.
        upgrade: gives a `made_with` record of an earlier release as this release writes it.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> store = Artifacts(tempfile.mkdtemp())
        >>> store.save("net-0", {"bias": np.ones(2)}, {"seconds": 1.5}, {"data": "ab12"})
        >>> store.has("net-0"), store.facts("net-0", {"data": "ab12"})
        (True, {'seconds': 1.5})
        >>> store.load("net-0", {"bias": np.zeros(2)})
        {'bias': array([1., 1.])}
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        lender: str | os.PathLike | None = None,
        upgrade: Callable[[Record], Record] = dict,
    ) -> None:
        self.folder = Path(folder)
        self.lender = None if lender is None else Path(lender)
        self.upgrade = upgrade

    @on_first_process
    def has(self, name: str) -> bool:
        """Returns whether the artifact `name` is finished."""
        return checkpoints.exists(self._checkpoint(name))

    def save(self, name: str, tree: Any, facts: Record, made_with: Record) -> None:
        """Keeps an artifact.

        Args:
            name: of the artifact.
            tree: a pytree of arrays, on one process or on several.
            facts: what the method `facts` returns; must fit JSON.
            made_with: all that the artifact depends on, as JSON gives it back.
        """
        self._save(name, to_host(tree), {"made_with": made_with, "facts": facts})

    @on_first_process
    def _save(self, name: str, tree: Any, metadata: Record) -> None:
        checkpoints.save(self._checkpoint(name), tree, metadata=metadata)

    @on_first_process
    def facts(self, name: str, made_with: Record) -> Record:
        """Returns the facts of an artifact, without reading its arrays.

        Raises:
            ValueError: it is damaged, or was made with something else.
        """
        return self._facts(self._checkpoint(name), made_with)

    @on_first_process
    def fits(self, name: str, made_with: Record) -> bool:
        """Returns whether an artifact was made with `made_with`."""
        metadata = checkpoints.read_metadata(self._checkpoint(name))
        return not list(self._differences(metadata, made_with))

    def load(self, name: str, like: Any) -> Any:
        """Returns the verified arrays of an artifact in the structure of `like`."""
        return broadcast_arrays(lambda: checkpoints.load(self._checkpoint(name), like), like)

    @on_first_process
    def borrow(self, name: str, like: Any, made_with: Record) -> None:
        """Copies an artifact that is missing here from the lender.

        The log says why an artifact of the lender was not taken: it is damaged, or was made with
        something else.
        """
        if self.lender is None or checkpoints.exists(self._checkpoint(name)):
            return
        path = self.lender / CHECKPOINTS / name
        try:
            facts, tree = self._facts(path, made_with), checkpoints.load(path, like)
        except ValueError as error:
            self.log("not borrowed", part=name, reason=str(error))
            return
        self._save(name, tree, {"made_with": made_with, "facts": facts})
        self.log("borrowed", part=name, path=str(path))

    @on_first_process
    def remove(self, name: str) -> None:
        """Removes an artifact; does nothing if there is none."""
        checkpoints.remove(self._checkpoint(name))

    @on_first_process
    def log(self, event: str, **facts: Any) -> None:
        """Appends one line to `log.jsonl`; NaN and infinity become null."""
        entry = {"time": round(time.time(), 3), "event": event} | facts
        line = json.dumps(_with_null_for_nan(entry), allow_nan=False)
        path = self.folder / "log.jsonl"
        try:
            # A kill can leave half a line behind; the next line must not be lost with it.
            torn = path.exists() and path.stat().st_size and not _ends_with_newline(path)
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" * bool(torn) + line + "\n")
        except OSError as error:
            raise OSError(
                f"cannot write {path}: {error.strerror or error}; check free space and "
                "permissions: the same command again goes on from here"
            ) from error

    def _checkpoint(self, name: str) -> Path:
        return self.folder / CHECKPOINTS / name

    def _facts(self, path: Path, made_with: Record) -> Record:
        metadata = checkpoints.read_metadata(path)
        found = list(self._differences(metadata, made_with))
        if found:
            raise ValueError(
                f"checkpoint {path} is of another study:\n  "
                + "\n  ".join(found)
                + "\nDelete this folder to have it made again, or give another --out"
            )
        return metadata["facts"]

    def _differences(self, metadata: Record, made_with: Record) -> Iterator[str]:
        return differences(self.upgrade(metadata.get("made_with", {})), made_with)


@on_first_process
def check_lender(folder: str | os.PathLike) -> None:
    """Raises ValueError if `folder` holds no artifact that could be borrowed."""
    if not any((Path(folder) / CHECKPOINTS).glob(f"*/{MANIFEST}")):
        what = "holds no checkpoints" if Path(folder).is_dir() else "is no folder"
        raise ValueError(f"--models-from {folder} {what}; give the --out of another study")


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Yields a line for each place at which two JSON records differ.

    Args:
        old: the record that is kept.
        new: the record that is wanted.
        place: the path of both in a larger record.

    Example:
        >>> list(differences({"judge": {"epochs": 3}}, {"judge": {"epochs": 4}}))
        ['judge.epochs: 3 there, 4 now']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{place}.{name}" if place else name
            yield from differences(old.get(name), new.get(name), inner)
    elif old != new:
        yield f"{place}: {old!r} there, {new!r} now"


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
