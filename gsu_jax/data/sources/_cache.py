"""Caches decoded arrays on disk: verified before use, replaced atomically, never required.

There is one file per source and options: an uncompressed `.npz` (`header`, then the arrays),
followed by the SHA-256 of these bytes in 64 hexadecimal digits. A file is parsed only if the hash
matches; its arrays are then mapped into memory, not copied. A writer moves a finished temporary
file into place, so a reader sees the old file, the new file or none, also with several writers or
after a power failure.
"""

import hashlib
import json
import logging
import math
import mmap
import os
import re
import struct
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT = 2  # another number makes older entries unknown
DIGEST_LENGTH = 64
KEY_LENGTH = 16
TEMPORARY = ".gsu_jax.tmp"
STALE_SECONDS = 3600.0
# The local header of a zip member has 30 bytes. At byte 26 are two lengths: of the name and of the
# extra field that follow the header.
ZIP_HEADER = 30
ZIP_LENGTHS_AT = 26
log = logging.getLogger(__name__)
Entry = tuple[dict[str, Any], dict[str, np.ndarray]]


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Returns `cache_dir`, else $GSU_JAX_CACHE_DIR, else a folder in the user's cache."""
    if cache_dir is None:
        cache_dir = os.environ.get("GSU_JAX_CACHE_DIR")
    if cache_dir:
        return Path(cache_dir).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "gsu_jax"
    except RuntimeError:  # There is no home folder, as in some containers: nothing is cached.
        return Path(os.devnull)


def entry_path(folder: Path, name: str, key: Mapping[str, Any]) -> Path:
    """Returns the file of `name` for this `key` (any JSON)."""
    return folder / f"{_stem(name)}-{_digest(key)[:KEY_LENGTH]}.npz"


def read(path: Path, key: Mapping[str, Any]) -> Entry | None:
    """Returns (header, arrays), or None if the file is absent, damaged or of another key.

    The arrays are read-only maps of the file. They stay valid if another process replaces it.
    """
    try:
        with open(path, "rb") as file:
            if not _hash_is_right(file):
                log.warning("%s does not match its hash: it is ignored and written again", path)
                return None
            arrays = _mapped(file)
    except OSError:
        return None
    header = json.loads(arrays.pop("header").tobytes())
    return (header["content"], arrays) if header["key"] == _digest(key) else None


def write(path: Path, key: Mapping[str, Any], header: Any, arrays: Mapping[str, Any]) -> None:
    """Writes `header` (JSON) and `arrays` to `path`; logs a warning if that fails."""
    text = json.dumps({"key": _digest(key), "content": header})
    encoded = np.frombuffer(text.encode(), np.uint8)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        descriptor, temporary = tempfile.mkstemp(TEMPORARY, path.stem, path.parent)
        with open(descriptor, "w+b") as file:
            np.savez(file, header=encoded, **arrays)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0, os.SEEK_END)
            file.write(digest.encode())
        os.replace(temporary, path)
    except OSError as error:
        log.warning(
            "Decoded images are not cached, the next start decodes them again: cannot write to %s "
            "(%s). Choose another folder with cache_dir= or GSU_JAX_CACHE_DIR",
            path.parent,
            error.strerror or error,
        )
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def remove(folder: Path, names: Iterable[str] | None) -> list[Path]:
    """Removes the entries of these names, or all, and what killed writers left; returns the paths.

    A writer at work logs that it cannot write: its temporary file is removed, too.
    """
    stems = ["[\\w.-]+"] if names is None else [re.escape(_stem(name)) for name in names]
    file_name = re.compile(
        f"({'|'.join(stems)})-[0-9a-f]{{{KEY_LENGTH}}}(\\.npz|.*{re.escape(TEMPORARY)})"
    )
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if file_name.fullmatch(path.name):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _stem(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([FORMAT, key], sort_keys=True).encode()).hexdigest()


def _mapped(file: BinaryIO) -> dict[str, np.ndarray]:
    """Maps the arrays of an uncompressed `.npz` in C order."""
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            lengths = struct.unpack_from("<HH", pages, entry.header_offset + ZIP_LENGTHS_AT)
            with archive.open(entry) as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                start = entry.header_offset + ZIP_HEADER + sum(lengths) + member.tell()
            array = np.frombuffer(pages, dtype, math.prod(shape), start).reshape(shape)
            # uint8 needs no alignment; wider arrays (attributes, which are small) may be copied.
            arrays[entry.filename.removesuffix(".npy")] = (
                array if array.flags.aligned else array.copy()
            )
    return arrays


def _hash_is_right(file: BinaryIO) -> bool:
    left = os.fstat(file.fileno()).st_size - DIGEST_LENGTH
    digest = hashlib.sha256()
    while left > 0:
        block = file.read(min(left, 1 << 22))
        if not block:
            return False
        digest.update(block)
        left -= len(block)
    return file.read() == digest.hexdigest().encode()


def _remove_stale(folder: Path) -> None:
    """Removes the files of killed writers; a file younger than an hour may still be in use."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                leftover.unlink()
