"""The manifest of a checkpoint: format, leaves, hashes."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

FORMAT = "gsu_jax checkpoint"
VERSION = 1
MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A folder that is not a whole checkpoint: foreign, unfinished or damaged."""


def shape_dtype(name: str, leaf: Any) -> tuple[tuple[int, ...], str]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise TypeError(f"leaf {name!r} is a typed key; save jax.random.key_data of it.")
    # Kind V without fields is bfloat16 and its relatives; names, not kinds, tell them apart.
    if leaf.dtype.kind not in "biufcV" or leaf.dtype.fields or leaf.dtype.name.startswith("void"):
        raise TypeError(f"leaf {name!r} has dtype {leaf.dtype}; a checkpoint holds numbers only.")
    return tuple(leaf.shape), leaf.dtype.name


def describe(leaf: np.ndarray) -> dict:
    shape, dtype = shape_dtype("", leaf)
    # Through uint8: bfloat16 has no buffer protocol, and bit patterns keep NaN and -0 apart.
    data = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return {"shape": list(shape), "dtype": dtype, "sha256": hashlib.sha256(data).hexdigest()}


def as_json(metadata: dict) -> dict:
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, found {type(metadata).__name__}.")
    try:
        return json.loads(json.dumps(metadata, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"metadata must hold finite numbers: {error}.") from error
    except TypeError as error:
        raise TypeError(f"metadata must fit JSON: {error}.") from error


def write_manifest(path: Path, data: Path, body: dict) -> None:
    body = {**body, "data": data.name}
    draft = data / MANIFEST
    with open(draft, "w", encoding="utf-8") as file:
        json.dump({"body": body, "sha256": hash_json(body)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path / MANIFEST)


def read_manifest(path: Path) -> dict:
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
        raise damaged(path, f"{MANIFEST} is not one of gsu_jax, or damaged") from error
    if not is_ours or said != hash_json(body):
        raise damaged(path, f"{MANIFEST} is not as it was written")
    if body["version"] != VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {body['version']}, this gsu_jax reads "
            f"{VERSION}. Read it with the release that wrote it, or delete this folder to have it "
            "made again."
        )
    return body


def hash_json(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def hash_files(data: Path) -> dict[str, str]:
    files = (p for p in sorted(data.rglob("*")) if p.is_file())
    return {str(p.relative_to(data)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is damaged: {what}. Delete this folder to have it made again."
    )
