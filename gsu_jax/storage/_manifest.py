"""The manifest of a checkpoint: its format, its leaves, and the hashes of both."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.storage._atomic import write_whole

FORMAT = "gsu_jax checkpoint"
VERSION = 1
MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A folder that is not a whole checkpoint: foreign, unfinished or damaged.

    Attributes:
        problem: what is wrong, without advice.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__("; ".join(filter(None, [problem, advice])))
        self.problem = problem


def shape_dtype(name: str, leaf: Any) -> tuple[tuple[int, ...], str]:
    """Returns the shape and the dtype's name of a leaf; raises TypeError if it is not numeric."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise TypeError(f"leaf {name!r} is a typed key; save jax.random.key_data of it")
    # bfloat16 and its relatives have kind V without fields; their names tell them apart.
    if leaf.dtype.kind not in "biufcV" or leaf.dtype.fields or leaf.dtype.name.startswith("void"):
        raise TypeError(f"leaf {name!r} must be numeric, got dtype {leaf.dtype}")
    return tuple(leaf.shape), leaf.dtype.name


def describe(leaf: np.ndarray) -> dict:
    """Returns what the manifest says of a leaf: its shape, dtype and SHA-256."""
    shape, dtype = shape_dtype("", leaf)
    # bfloat16 has no buffer protocol; hashing bytes keeps NaN bit patterns and -0 apart.
    data = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data
    return {"shape": list(shape), "dtype": dtype, "sha256": hashlib.sha256(data).hexdigest()}


def as_json(metadata: dict) -> dict:
    """Returns `metadata` as JSON would give it back."""
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, got {type(metadata).__name__}")
    try:
        return json.loads(json.dumps(metadata, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"metadata must hold finite numbers: {error}") from error
    except TypeError as error:
        raise TypeError(f"metadata must fit JSON: {error}") from error


def write_manifest(path: Path, body: dict) -> None:
    """Writes the manifest of the checkpoint `path`: from then on the checkpoint exists."""
    write_whole(path / MANIFEST, json.dumps({"body": body, "sha256": hash_json(body)}, indent=1))


def read_manifest(path: Path) -> dict:
    """Returns the body of a manifest whose hash is right; raises CheckpointError otherwise."""
    try:
        text = (path / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "holds no finished checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"checkpoint {path} {what}",
            "check the path, or delete this folder to have it made again if a run was stopped "
            "halfway",
        ) from error
    try:
        manifest = json.loads(text)
        body, expected = manifest["body"], manifest["sha256"]
        is_ours = body["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"{MANIFEST} is foreign or damaged") from error
    if not is_ours or expected != hash_json(body):
        raise damaged(path, f"{MANIFEST} is not as it was written")
    if body["version"] != VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {body['version']}, this gsu_jax reads {VERSION}",
            "read it with the release that wrote it, or delete this folder to have it made again",
        )
    return body


def hash_json(body: dict) -> str:
    """Returns the SHA-256 of a body, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def hash_files(data: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file under `data`, by relative path."""
    files = (p for p in sorted(data.rglob("*")) if p.is_file())
    return {str(p.relative_to(data)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def damaged(path: Path, what: str) -> CheckpointError:
    """Returns the error for a checkpoint that must be made again."""
    return CheckpointError(
        f"checkpoint {path} is damaged: {what}", "delete this folder to have it made again"
    )
