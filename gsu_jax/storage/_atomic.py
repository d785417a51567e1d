"""`write_whole`: a file that a kill or a full disk cannot leave half written."""

import os
import tempfile
from pathlib import Path


def write_whole(path: str | os.PathLike, content: bytes | str) -> None:
    """Replaces the file `path` by `content` (text as UTF-8) in one step; parents are made.

    Raises:
      OSError: it cannot be written; the file that was there is as it was.
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
                f"cannot write {path}: {error.strerror or error}. Check free space and "
                "permissions, or choose another folder."
            ) from error
        raise
