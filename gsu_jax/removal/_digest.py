"""The digest by which an event names a checkpoint."""

import hashlib
import os
from pathlib import Path


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
