"""`write_whole`: a file that a kill or a full disk cannot leave half written."""

import os
import tempfile
from pathlib import Path


def write_whole(
    path: str | os.PathLike, content: bytes | str, *, private: bool = False, new: bool = False
) -> None:
    """Replaces the file `path` by `content` in one step.

    The content goes to a draft beside `path`, reaches the disk, and takes the place of `path`.

    Args:
        path: the file to write; missing parent folders are made.
        content: bytes, or text that is written as UTF-8.
        private: whether its owner alone may read it, from the first byte on.
        new: whether there must be no earlier file.

    Raises:
        FileExistsError: there is an earlier file, and `new` is given.
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
        if not private:  # mkstemp makes files that are
            os.chmod(draft, 0o644)
        if new:
            os.link(draft, path)  # fails if `path` exists, which a replacement does not
            os.unlink(draft)
        else:
            os.replace(draft, path)
    except BaseException as error:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
        is_taken = new and isinstance(error, FileExistsError) and path.exists()
        if isinstance(error, OSError) and not is_taken:
            raise OSError(
                f"cannot write {path}: {error.strerror or error}; check free space and "
                "permissions, or choose another folder"
            ) from error
        raise
