"""Checkpoints that are whole or refused: `save`, `load`, `exists`, `read_metadata`.

A checkpoint is a folder:

    manifest.json      which data folder counts; leaf paths, shapes, dtypes, hashes; metadata
    data-xxxxxxxx/     the arrays as orbax writes them, {leaf path: array}

Orbax restores flipped bits and wrong dtypes without a word (40 of 40 flips in 0.12.8), so the
manifest holds the SHA-256 of every file and of every array, and `load` checks both. A folder
cannot be replaced atomically, a file can: writing the new data folder beside the old one and then
replacing `manifest.json` makes a save all or nothing. One writer at a time; where a program runs as
several processes, the one that calls `save` or `load` does not wait for the others.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.runtime import put
from gsu_jax.storage._manifest import (
    FORMAT,
    MANIFEST,
    VERSION,
    CheckpointError,
    as_json,
    damaged,
    describe,
    hash_files,
    read_manifest,
    shape_dtype,
    write_manifest,
)
from gsu_jax.storage._orbax_io import quiet, read_arrays, write_arrays


def save(path: str | os.PathLike, tree: Any, *, metadata: dict | None = None) -> None:
    """Writes a pytree of arrays as the checkpoint `path`, replacing the one that was there.

    A kill at any moment leaves the previous checkpoint or the new one, whole.

    Args:
      path: the checkpoint's folder; parents are made.
      tree: any pytree whose leaves are arrays or numbers (dicts, tuples, optax states, ...). JAX
        arrays must be addressable from this process.
      metadata: what `read_metadata` gives back: a dict that JSON can hold, without NaN.

    Raises:
      TypeError: a leaf is no array of numbers (named), or `metadata` does not fit JSON.
      ValueError: `path` holds something else, or `metadata` holds NaN or infinity.
      OSError: the folder cannot be written; the previous checkpoint is as it was.
    """
    path = Path(path)
    leaves = {name: _host_array(name, leaf) for name, leaf in _named_leaves(tree).items()}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "leaves": {name: describe(leaf) for name, leaf in leaves.items()},
        "metadata": as_json(metadata or {}),
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = [p.name for p in path.iterdir() if p.name != MANIFEST]
    except OSError as error:
        raise _cannot_write(path, error) from error
    if strangers := [name for name in names if not name.startswith("data-")]:
        raise ValueError(f"{path} is no checkpoint: it holds {min(strangers)!r}. Choose another.")
    data = None
    try:
        data = Path(tempfile.mkdtemp(prefix="data-", dir=path))
        # Orbax knows no arrays without elements; the manifest says all there is to say of them.
        filled = {name: leaf for name, leaf in leaves.items() if leaf.size}
        if filled:
            with quiet():
                write_arrays(data.absolute(), filled)
        write_manifest(path, data, {**manifest, "files": hash_files(data)})
    except BaseException as error:
        if data is not None:
            _remove_data(path, data.name + "*")
        if isinstance(error, Exception):
            raise _cannot_write(path, error) from error
        raise
    _remove_data(path, "data-*", but=data.name)


def load(path: str | os.PathLike, like: Any) -> Any:
    """Reads the checkpoint `path` into the structure of `like`, every array's hash verified.

    Args:
      path: a folder that `save` wrote.
      like: a tree of the same structure: arrays, or shapes and dtypes from `jax.eval_shape`. A
        leaf comes back as a NumPy array where that of `like` is one (or a number), else as a JAX
        array on the sharding of `like`'s leaf (the default device where it has none).

    Raises:
      ValueError: the checkpoint is of another tree: names the leaf, both shapes and dtypes.
      CheckpointError: no checkpoint there, or one that is damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    saved, wanted = manifest["leaves"], _named_leaves(like)
    _compare(path, saved, {name: shape_dtype(name, leaf) for name, leaf in wanted.items()})
    empty = {name: _empty(leaf) for name, leaf in saved.items()}
    filled = {name: leaf for name, leaf in empty.items() if leaf.size}
    restored = dict(empty)
    try:
        hashes = hash_files(path / manifest["data"])
        # Before orbax reads: damaged files would have it print, and raise anything.
        if changed := [f for f, found in manifest["files"].items() if hashes.get(f) != found]:
            raise damaged(path, f"{manifest['data']}/{changed[0]} is missing or changed")
        if filled:
            with quiet():
                restored |= read_arrays((path / manifest["data"]).absolute(), filled)
    except CheckpointError:
        raise
    except Exception as error:
        raise damaged(path, f"its arrays cannot be read ({_first_line(error)})") from error
    for name, leaf in restored.items():
        if describe(np.asarray(leaf)) != saved[name]:
            raise damaged(path, f"the bytes of leaf {name!r} are not those that were saved")
    placed = [_place(np.asarray(restored[name]), leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), placed)


def exists(path: str | os.PathLike) -> bool:
    """Whether a finished save left a checkpoint at `path` (whole or damaged: `load` tells)."""
    return (Path(path) / MANIFEST).is_file()


def remove(path: str | os.PathLike) -> None:
    """Removes the checkpoint `path`, its manifest first; nothing happens where there is none."""
    path = Path(path)
    if exists(path):
        (path / MANIFEST).unlink()
        shutil.rmtree(path)


def read_metadata(path: str | os.PathLike) -> dict:
    """The `metadata` given to `save`, read without the arrays.

    Raises:
      CheckpointError: no checkpoint there, or its manifest is damaged.
    """
    return read_manifest(Path(path))["metadata"]


def _named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves by path ("params/decoder/kernel"), in the order of the tree."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in paths}
    if len(named) != len(paths):
        raise ValueError("two leaves share one path; rename dict keys that contain '/'.")
    return named


def _host_array(name: str, leaf: Any) -> np.ndarray:
    shape_dtype(name, leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(f"leaf {name!r} lies on several hosts; gather it before saving.")
    return np.asarray(leaf)


def _empty(description: dict) -> np.ndarray:
    return np.empty(description["shape"], jax.numpy.dtype(description["dtype"]))


def _place(array: np.ndarray, like: Any) -> Any:
    if isinstance(like, (np.ndarray, np.generic, bool, int, float, complex)):
        return array
    sharding = getattr(like, "sharding", None)
    # Over several processes each gives its devices their part.
    return jax.device_put(array) if sharding is None else put(array, sharding)


def _compare(path: Path, saved: dict, wanted: dict) -> None:
    fix = "Delete this folder to have it made again, or load it with the config it was made with."
    missing, extra = wanted.keys() - saved.keys(), saved.keys() - wanted.keys()
    if missing or extra:
        said = [f"has no leaf {min(missing)!r}"] if missing else []
        said += [f"has a leaf {min(extra)!r} that is not asked for"] if extra else []
        counts = f"{len(saved)} leaves saved, {len(wanted)} asked for"
        raise ValueError(f"checkpoint {path} {' and '.join(said)} ({counts}). {fix}")
    for name, (shape, dtype) in wanted.items():
        found = (tuple(saved[name]["shape"]), saved[name]["dtype"])
        if found != (shape, dtype):
            raise ValueError(
                f"checkpoint {path}: leaf {name!r} was saved as {found[1]}{list(found[0])}, "
                f"asked for is {dtype}{list(shape)}. {fix}"
            )


def _remove_data(path: Path, pattern: str, but: str = "") -> None:
    for entry in path.glob(pattern):
        if entry.name != but:
            shutil.rmtree(entry, ignore_errors=True)


def _cannot_write(path: Path, error: Exception) -> OSError:
    return OSError(
        f"cannot write checkpoint {path}: {_first_line(error)}. Check free space and permissions "
        "or choose another folder; an earlier checkpoint there is as it was."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
