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

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.processes import put

FORMAT = "gsu_jax checkpoint"
VERSION = 1
MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A folder that is not a whole checkpoint: foreign, unfinished or damaged."""


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
        "leaves": {name: _describe(leaf) for name, leaf in leaves.items()},
        "metadata": _as_json(metadata or {}),
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
            with _quiet():
                _write_arrays(data.absolute(), filled)
        _write_manifest(path, data, {**manifest, "files": _hash_files(data)})
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
    manifest = _read_manifest(path)
    saved, wanted = manifest["leaves"], _named_leaves(like)
    _compare(path, saved, {name: _shape_dtype(name, leaf) for name, leaf in wanted.items()})
    empty = {name: _empty(leaf) for name, leaf in saved.items()}
    filled = {name: leaf for name, leaf in empty.items() if leaf.size}
    restored = dict(empty)
    try:
        hashes = _hash_files(path / manifest["data"])
        # Before orbax reads: damaged files would have it print, and raise anything.
        if changed := [f for f, found in manifest["files"].items() if hashes.get(f) != found]:
            raise _damaged(path, f"{manifest['data']}/{changed[0]} is missing or changed")
        if filled:
            with _quiet():
                restored |= _read_arrays((path / manifest["data"]).absolute(), filled)
    except CheckpointError:
        raise
    except Exception as error:
        raise _damaged(path, f"its arrays cannot be read ({_first_line(error)})") from error
    for name, leaf in restored.items():
        if _describe(np.asarray(leaf)) != saved[name]:
            raise _damaged(path, f"the bytes of leaf {name!r} are not those that were saved")
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
    return _read_manifest(Path(path))["metadata"]


def _named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves by path ("params/decoder/kernel"), in the order of the tree."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in paths}
    if len(named) != len(paths):
        raise ValueError("two leaves share one path; rename dict keys that contain '/'.")
    return named


def _host_array(name: str, leaf: Any) -> np.ndarray:
    _shape_dtype(name, leaf)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise ValueError(f"leaf {name!r} lies on several hosts; gather it before saving.")
    return np.asarray(leaf)


def _shape_dtype(name: str, leaf: Any) -> tuple[tuple[int, ...], str]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise TypeError(f"leaf {name!r} is a typed key; save jax.random.key_data of it.")
    # Kind V without fields is bfloat16 and its relatives; names, not kinds, tell them apart.
    if leaf.dtype.kind not in "biufcV" or leaf.dtype.fields or leaf.dtype.name.startswith("void"):
        raise TypeError(f"leaf {name!r} has dtype {leaf.dtype}; a checkpoint holds numbers only.")
    return tuple(leaf.shape), leaf.dtype.name


def _describe(leaf: np.ndarray) -> dict:
    shape, dtype = _shape_dtype("", leaf)
    # Through uint8: bfloat16 has no buffer protocol, and bit patterns keep NaN and -0 apart.
    data = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return {"shape": list(shape), "dtype": dtype, "sha256": hashlib.sha256(data).hexdigest()}


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


def _as_json(metadata: dict) -> dict:
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, found {type(metadata).__name__}.")
    try:
        return json.loads(json.dumps(metadata, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"metadata must hold finite numbers: {error}.") from error
    except TypeError as error:
        raise TypeError(f"metadata must fit JSON: {error}.") from error


def _write_manifest(path: Path, data: Path, body: dict) -> None:
    body = {**body, "data": data.name}
    draft = data / MANIFEST
    with open(draft, "w", encoding="utf-8") as file:
        json.dump({"body": body, "sha256": _hash_json(body)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path / MANIFEST)


def _read_manifest(path: Path) -> dict:
    try:
        text = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "holds no finished checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"checkpoint {path} {what}. Check the path; if a run was stopped half-way, "
            "delete this folder to have it made again."
        ) from error
    try:
        manifest = json.loads(text)
        body, said = manifest["body"], manifest["sha256"]
        is_ours = body["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{MANIFEST} is not one of gsu_jax, or damaged") from error
    if not is_ours or said != _hash_json(body):
        raise _damaged(path, f"{MANIFEST} is not as it was written")
    if body["version"] != VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {body['version']}, this gsu_jax reads "
            f"{VERSION}. Read it with the release that wrote it, or delete this folder to have it "
            "made again."
        )
    return body


def _hash_json(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _hash_files(data: Path) -> dict[str, str]:
    files = (p for p in sorted(data.rglob("*")) if p.is_file())
    return {str(p.relative_to(data)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _remove_data(path: Path, pattern: str, but: str = "") -> None:
    for entry in path.glob(pattern):
        if entry.name != but:
            shutil.rmtree(entry, ignore_errors=True)


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is damaged: {what}. Delete this folder to have it made again."
    )


def _cannot_write(path: Path, error: Exception) -> OSError:
    return OSError(
        f"cannot write checkpoint {path}: {_first_line(error)}. Check free space and permissions "
        "or choose another folder; an earlier checkpoint there is as it was."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if jax.process_count() == 1:
        _orbax().save(path, arrays, overwrite=True)
        return
    from orbax import checkpoint

    # v1 waits for the other processes whatever it is told (0.12.8); the files are the same.
    this = _this_process(checkpoint.options.MultiprocessingOptions())
    handler = checkpoint.CompositeCheckpointHandler(
        composite_options=checkpoint.CompositeOptions(multiprocessing_options=this),
        state=checkpoint.PyTreeCheckpointHandler(multiprocessing_options=this),
    )
    with checkpoint.Checkpointer(handler, multiprocessing_options=this) as writer:
        state = checkpoint.args.PyTreeSave(arrays)
        writer.save(path, checkpoint.args.Composite(state=state), force=True)


def _read_arrays(path: Path, like: dict[str, np.ndarray]) -> dict[str, Any]:
    if jax.process_count() == 1:
        return _orbax().load(path, like)
    context = _orbax().Context()
    _this_process(context.multiprocessing)
    with context:
        return _orbax().load(path, like)


def _orbax() -> Any:
    # Not at the top: orbax costs 0.4 s, and a finished run reads results without it.
    from orbax.checkpoint import v1

    return v1


def _this_process(options: Any) -> Any:
    """Orbax's options for a process that reads and writes without the others."""
    process = jax.process_index()
    options.primary_host, options.active_processes = process, {process}
    options.barrier_sync_key_prefix = f"process-{process}"
    return options


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax's warnings and log lines are for its developers; errors still raise."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
