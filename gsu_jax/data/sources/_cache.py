"""Decoded arrays on disk: checked before they are read, replaced in one move, never needed.

One file per source and options: an uncompressed .npz (`header`, then the arrays) followed by the
64 hexadecimal digits of the SHA-256 of the bytes before them. Nothing of a file is parsed before
its hash is right, and then its arrays are mapped into memory, not read into it. A writer fills a
temporary file beside it and moves it into place, so that a reader sees the old file, the new one or
none, whoever else writes and whenever the power goes.
"""

import hashlib
import json
import logging
import math
import mmap
import os
import struct
import tempfile
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT = 2  # whatever changes it makes older entries unknown
DIGEST_LENGTH = 64
TEMPORARY = ".gsu_jax.tmp"
STALE_SECONDS = 3600.0
# The local header of a zip member: 30 bytes, of which two lengths (of its name and of its extra
# field, which follow it) at 26.
ZIP_HEADER = 30
ZIP_LENGTHS_AT = 26
log = logging.getLogger(__name__)
Entry = tuple[dict[str, Any], dict[str, np.ndarray]]


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """Where decoded arrays lie: `cache_dir`, else $GSU_JAX_CACHE_DIR, else the user's cache."""
    if cache_dir is None:
        cache_dir = os.environ.get("GSU_JAX_CACHE_DIR")
    if cache_dir:
        return Path(cache_dir).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification wants a relative path there ignored.
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "gsu_jax"
    except RuntimeError:  # A user without a home folder, as in some containers: nothing is kept.
        return Path(os.devnull)


def entry_path(folder: Path, name: str, key: Mapping[str, Any]) -> Path:
    """The file of `name` with exactly this `key` (anything JSON can write)."""
    return folder / f"{name}-{_digest(key)[:16]}.npz"


def read(path: Path, key: Mapping[str, Any]) -> Entry | None:
    """(header, arrays) of `path`, or None where it is absent, damaged or of another key.

    The arrays cannot be written to; their memory is the file's, which stays what it is even when
    another process replaces it.
    """
    try:
        with open(path, "rb") as file:
            if not _hash_is_right(file):
                log.warning("%s does not match its hash: it is ignored and made anew.", path)
                return None
            arrays = _mapped(file)
    except OSError:
        return None
    header = json.loads(arrays.pop("header").tobytes())
    return (header["content"], arrays) if header["key"] == _digest(key) else None


def write(path: Path, key: Mapping[str, Any], header: Any, arrays: Mapping[str, Any]) -> None:
    """Keeps `header` (JSON) and `arrays` at `path`; a folder that cannot hold them is logged."""
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
            "Decoded images are not kept, the next start decodes them again: cannot write to %s "
            "(%s). Choose another folder with cache_dir= or GSU_JAX_CACHE_DIR.",
            path.parent,
            error.strerror or error,
        )
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([FORMAT, key], sort_keys=True).encode()).hexdigest()


def _mapped(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed .npz in C order, mapped from where they lie in it."""
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
            # Bytes may lie anywhere; what is wider (attributes, so little) is brought into line.
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
    """Removes what killed writers left behind (a writer at work is younger than an hour)."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                leftover.unlink()
