"""Finds prepared TensorFlow Datasets with the standard library alone.

A cached start needs no more, so it never imports TFDS (at least 0.7 s).
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsu_jax.checks import listing, near

BUILT_IN = ("digits",)
KNOWN = ("celeb_a", "dsprites", "fairface64", "fashion_mnist", "mnist", "sprites64")
INFO = "dataset_info.json"
ACCEPTED = "a folder of images, a .npz file, or the name of a data set"


@dataclass(frozen=True)
class Located:
    """A prepared data set: its name, the folder of one version, and its splits."""

    name: str
    folder: Path
    splits: tuple[str, ...]

    @property
    def test_split(self) -> str | None:
        """The split of test images, else of validation images, if there is one."""
        return next((split for split in ("test", "validation") if split in self.splits), None)

    def key(self) -> list[Any]:
        """Returns what the decoded arrays depend on: path, description, size and time of files."""
        states = [(file.name, file.stat()) for file in sorted(self.folder.iterdir())]
        return [
            str(self.folder.resolve()),
            (self.folder / INFO).read_text(encoding="utf-8"),
            [[name, state.st_size, state.st_mtime_ns] for name, state in states],
        ]


def data_folder(data_dir: str | os.PathLike | None) -> Path:
    """Returns `data_dir`, else $TFDS_DATA_DIR, else the default of TFDS in the home folder."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def locate(name: str, data_dir: str | os.PathLike | None) -> Located:
    """Finds the newest prepared version of a data set.

    Args:
        name: The name, or "name/config".
        data_dir: The folder of TFDS, see `data_folder`.

    Returns:
        The data set in its folder.

    Raises:
        ValueError: The folder or the data set does not exist, or has no array_record files.
    """
    root = data_folder(data_dir)
    if not root.is_dir() and name not in KNOWN:
        raise ValueError(
            f"{_no_path(name, ())} The data sets that TFDS prepared are in data_dir= or "
            f"TFDS_DATA_DIR; the folder {root} does not exist"
        )
    if not root.is_dir():
        raise ValueError(
            f"data_dir: the folder {root} does not exist, so the data set {name!r} cannot be read. "
            "Give data_dir= or the environment variable TFDS_DATA_DIR: the folder in which TFDS "
            f"prepared it. If it is prepared nowhere: {_how_to_prepare(name, root)}"
        )
    versions = _versions(root / name)
    if not versions:
        raise _not_prepared(name, root)
    for folder in versions:
        info = _read_info(folder)
        formats = [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", [])]
        if "array_record" in formats:
            splits = tuple(split["name"] for split in info.get("splits", ()))
            if "train" not in splits:
                raise ValueError(
                    f"name: {name} in {folder} has no split train, got {listing(splits)}"
                )
            return Located(name, folder, splits)
    raise ValueError(
        f"name: {name} in {versions[0]} is prepared in another format than array_record, which "
        f"cannot be read without TensorFlow. {_how_to_prepare(name, root)}"
    )


def _not_prepared(name: str, root: Path) -> ValueError:
    prepared = [child.name for child in _folders(root)]
    configs = [f"{name}/{child.name}" for child in _folders(root / name) if _versions(child)]
    if configs:
        return ValueError(f"name: {name} has several configs, choose one: {listing(configs)}")
    if name in KNOWN:
        return ValueError(
            f"name: {name} is not prepared in {root} (there: {listing(prepared)}). "
            f"{_how_to_prepare(name, root)}"
        )
    return ValueError(
        f"{_no_path(name, prepared)} Prepared in {root}: {listing(prepared)}; prepare any other "
        "data set of TFDS there first, as array_record"
    )


def _no_path(name: str, prepared: Iterable[str]) -> str:
    """What is said of a name that is no known data set, and so may be meant as a path."""
    known = sorted({*BUILT_IN, *KNOWN, *prepared})
    said = f"there is no file or folder {name!r}, and no data set of that name"
    if Path(name).exists():  # and `root` has a folder of that name, which is no data set
        said = f"unknown data set {name!r}"
    return f"name: {said}.{near(name, known)} Expected {ACCEPTED}, such as {listing(known)}."


def _read_info(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / INFO).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"data_dir: {folder / INFO} is damaged ({error}). Prepare the data set again"
        ) from error


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []


def _versions(folder: Path) -> list[Path]:
    """Returns the prepared versions in `folder`, newest first."""
    versions = [
        child
        for child in _folders(folder)
        if all(part.isdecimal() for part in child.name.split(".")) and (child / INFO).is_file()
    ]
    return sorted(versions, key=lambda v: [int(part) for part in v.name.split(".")], reverse=True)


def _how_to_prepare(name: str, root: Path) -> str:
    return (
        f'Prepare it once, where TensorFlow is installed: tfds.builder("{name}", '
        f'data_dir="{root}").download_and_prepare(file_format="array_record"); reading it needs '
        "no TensorFlow (docs/guide/data.md)"
    )
