"""Checkpoints that are whole or refused: `save`, `load`, `exists`, `read_metadata`, `remove`.

A checkpoint is a folder:

    manifest.json      which data folder counts; leaf paths, shapes, dtypes, hashes; metadata
    data-xxxxxxxx/     the arrays as orbax writes them, {leaf path: array}

Orbax restores flipped bits and wrong dtypes silently (40 of 40 flips in 0.12.8), so the manifest
holds the SHA-256 of every file and of every array, and `load` verifies both. A file can be replaced
atomically and a folder cannot: `save` writes a new data folder beside the old one and then replaces
`manifest.json`. A checkpoint has one writer at a time. In a program of several processes, the
process that calls `save` or `load` does not wait for the others.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
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
from gsu_jax.storage._orbax_io import read_arrays, write_arrays

LEFTOVERS = ("data-*", f".{MANIFEST}.*")  # what a killed `save` may leave behind


def save(path: str | os.PathLike, tree: Any, *, metadata: dict | None = None) -> None:
    """Writes a pytree of arrays as the checkpoint `path`, replacing an earlier one.

    A kill at any moment leaves the earlier checkpoint or the new one, whole.

    Args:
        path: the checkpoint's folder; missing parents are made.
        tree: any pytree whose leaves are arrays or numbers (dicts, tuples, optax states, ...). JAX
            arrays must be addressable from this process.
        metadata: what `read_metadata` returns: a dict that fits JSON, without NaN.

    Raises:
        TypeError: a leaf is not numeric (the message names it), or `metadata` does not fit JSON.
        ValueError: `path` holds something else, or `metadata` holds NaN or infinity.
        OSError: the folder cannot be written; the earlier checkpoint is unchanged.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from gsu_jax import storage
        >>> folder = tempfile.mkdtemp()
        >>> storage.save(folder, {"bias": jnp.ones(2)}, metadata={"epochs": 3})
        >>> storage.load(folder, {"bias": jnp.zeros(2)})
        {'bias': Array([1., 1.], dtype=float32)}
        >>> storage.read_metadata(folder)
        {'epochs': 3}
    """
    path = Path(path)
    leaves = {name: _host_array(name, leaf) for name, leaf in _named_leaves(tree).items()}
    body = {
        "format": FORMAT,
        "version": VERSION,
        "leaves": {name: describe(leaf) for name, leaf in leaves.items()},
        "metadata": as_json(metadata or {}),
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        strangers = {p.name for p in path.iterdir()} - {p.name for p in _leftovers(path)}
    except OSError as error:
        raise _cannot_write(path, error) from error
    if strangers := strangers - {MANIFEST}:
        raise ValueError(f"{path} is no checkpoint: it holds {min(strangers)!r}; move it away")
    data = None
    try:
        data = Path(tempfile.mkdtemp(prefix="data-", dir=path))
        write_arrays(data, leaves)
        write_manifest(path, body | {"files": hash_files(data), "data": data.name})
    except BaseException as error:
        if data is not None and not _is_published(path, data):
            _remove_all(path.glob(f"{data.name}*"))
        if isinstance(error, Exception) and not isinstance(error, ImportError):
            raise _cannot_write(path, error) from error
        raise
    _remove_all(p for p in _leftovers(path) if p != data)


def _is_published(path: Path, data: Path) -> bool:
    """Whether the manifest names these files: a Ctrl-C may come just after it took its place."""
    try:
        return read_manifest(path)["data"] == data.name
    except CheckpointError:
        return False


def load(path: str | os.PathLike, like: Any = None) -> Any:
    """Reads the checkpoint `path` into the structure of `like` and verifies every hash.

    Args:
        path: a folder that `save` wrote.
        like: a tree of the same structure: arrays, or shapes and dtypes from `jax.eval_shape`. A
            leaf comes back as a NumPy array if that of `like` is one (or a number), otherwise as a
            JAX array with the sharding of `like`'s leaf, or on the default device. Without `like`,
            every container comes back as a dict, in which a number is an integer key (the index of
            a list, or of a layer of Flax NNX), and every leaf as a NumPy array.

    Returns:
        The tree that was saved. For an example see `save`.

    Raises:
        ValueError: the checkpoint holds another tree; names the leaf, both shapes and dtypes.
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    saved, wanted = manifest["leaves"], {}
    if like is not None:
        wanted = _named_leaves(like)
        _compare(path, saved, {name: shape_dtype(name, leaf) for name, leaf in wanted.items()})
    try:
        hashes = hash_files(path / manifest["data"])
        # Before orbax reads: given damaged files it prints, and raises anything.
        if changed := [f for f, found in manifest["files"].items() if hashes.get(f) != found]:
            raise damaged(path, f"{manifest['data']}/{changed[0]} is missing or changed")
        empty = {name: _empty(leaf) for name, leaf in saved.items()}
        restored = read_arrays(path / manifest["data"], empty)
    except (CheckpointError, ImportError):
        raise
    except Exception as error:
        raise damaged(path, f"its arrays cannot be read ({_first_line(error)})") from error
    for name, leaf in restored.items():
        if describe(np.asarray(leaf)) != saved[name]:
            raise damaged(path, f"the bytes of leaf {name!r} are not those that were saved")
    if like is None:
        return _nested({name: np.asarray(restored[name]) for name in saved})
    placed = [_place(np.asarray(restored[name]), leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), placed)


def exists(path: str | os.PathLike) -> bool:
    """Returns whether a finished `save` left a checkpoint at `path`; `load` verifies it."""
    return (Path(path) / MANIFEST).is_file()


def remove(path: str | os.PathLike) -> None:
    """Removes the checkpoint `path`, its manifest first; does nothing if there is none."""
    path = Path(path)
    if exists(path):
        (path / MANIFEST).unlink()
        shutil.rmtree(path)


def read_metadata(path: str | os.PathLike) -> dict:
    """Returns the `metadata` given to `save`, without reading the arrays.

    Raises:
        CheckpointError: there is no checkpoint, or its manifest is damaged.
    """
    return read_manifest(Path(path))["metadata"]


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by path ("params/decoder/kernel"), in the order of the tree."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in paths}
    if len(named) != len(paths):
        raise ValueError("two leaves share one path; rename dict keys that contain '/'")
    return named


def _nested(leaves: dict[str, np.ndarray]) -> Any:
    """Returns leaves by path as nested dicts; a number in a path becomes an integer key."""
    if leaves.keys() == {""}:
        return leaves[""]
    tree: dict[str | int, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = (int(k) if k == str(_number(k)) else k for k in path.split("/"))
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = leaf
    return tree


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _host_array(name: str, leaf: Any) -> np.ndarray:
    shape_dtype(name, leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(f"leaf {name!r} lies on several hosts; gather it before saving")
    return np.asarray(leaf)


def _empty(description: dict) -> np.ndarray:
    return np.empty(description["shape"], jax.numpy.dtype(description["dtype"]))


def _place(array: np.ndarray, like: Any) -> Any:
    if isinstance(like, (np.ndarray, np.generic, bool, int, float, complex)):
        return array
    sharding = getattr(like, "sharding", None)
    # `put`: with several processes, each gives its devices their part.
    return jax.device_put(array) if sharding is None else put(array, sharding)


def _compare(path: Path, saved: dict, wanted: dict) -> None:
    fix = "load it into the structure it was saved with (the same model and config)"
    missing, extra = wanted.keys() - saved.keys(), saved.keys() - wanted.keys()
    if missing or extra:
        parts = [f"has no leaf {min(missing)!r}"] if missing else []
        parts += [f"has a leaf {min(extra)!r} that is not asked for"] if extra else []
        counts = f"{len(saved)} leaves saved, {len(wanted)} asked for"
        raise ValueError(f"checkpoint {path} {' and '.join(parts)} ({counts}); {fix}")
    for name, (shape, dtype) in wanted.items():
        found = (tuple(saved[name]["shape"]), saved[name]["dtype"])
        if found != (shape, dtype):
            raise ValueError(
                f"checkpoint {path}: leaf {name!r} was saved as {found[1]}{list(found[0])}, "
                f"asked for is {dtype}{list(shape)}; {fix}"
            )


def _leftovers(path: Path) -> list[Path]:
    return [entry for pattern in LEFTOVERS for entry in path.glob(pattern)]


def _remove_all(entries: Iterable[Path]) -> None:
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _cannot_write(path: Path, error: Exception) -> OSError:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    # TensorStore says at the very end of a long line why the system refused.
    code = re.search(r"os_error_code='(\d+)'", str(error))
    why = os.strerror(int(code[1])) if code else getattr(cause, "strerror", None)
    why = why or _first_line(cause)
    return OSError(
        f"cannot write checkpoint {path}: {why}; check free space and permissions "
        "or choose another folder; an earlier checkpoint there is unchanged"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
