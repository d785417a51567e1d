"""`write_whole`: a file that a kill or a full disk cannot leave half written."""

import os
import tempfile
from pathlib import Path


def write_whole(path: str | os.PathLike, content: bytes | str) -> None:
    """Replaces the file `path` by `content` in one step.

    The content goes to a draft beside `path`, reaches the disk, and takes the place of `path`.

    Args:
        path: the file to write; missing parent folders are made.
        content: bytes, or text that is written as UTF-8.

    Raises:
        OSError: `path` cannot be written; the earlier file is unchanged.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> write_whole(folder / "notes" / "a.txt", "whole")
        >>> (folder / "notes" / "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException as error:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(
                f"cannot write {path}: {error.strerror or error}; check free space and "
                "permissions, or choose another folder"
            ) from error
        raise
