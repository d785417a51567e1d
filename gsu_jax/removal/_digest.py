"""The digests by which an event names a checkpoint, wherever and in whatever files it is kept."""

import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.data import Source
from gsu_jax.removal._events import canonical


def digest(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file, or of a folder: of the names and the content of its files.

    A folder has the digest of the lines that `sha256sum` prints for its files, sorted by name.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: The folder has no file.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "weights.bin").write_bytes(b"1234")
        >>> digest(folder)[:16], digest(folder / "weights.bin")[:16]
        ('c19ff8362c6b118a', '03ac674216f3e15c')
    """
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*"))
    lines = [f"{digest(file)}  {name}\n" for name, file in files if file.is_file()]
    if not lines:
        raise ValueError(f"path must be a file or a folder with files, got the empty {path}")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def weights_digest(params: Any) -> str:
    """Returns the SHA-256 of parameters: of the path, dtype, shape and bytes of each leaf.

    Files differ from one save to the next, by names and times; this does not. It has no order but
    that of the paths.

    Example:
        >>> weights_digest({"b": np.ones(2), "a": np.zeros(3)})[:16]
        'bdd9c9aa038b7806'
    """
    found = hashlib.sha256()
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    for name, leaf in sorted(leaves.items()):
        found.update(f"{name} {leaf.dtype.name} {list(leaf.shape)}\n".encode())
        found.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def data_digest(source: Source) -> str:
    """The SHA-256 by which the ledger names the data."""
    said = {"name": source.name, "fingerprint": source.fingerprint}
    return hashlib.sha256(canonical(said)).hexdigest()
