"""A folder that one run holds against all others."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gsu_jax.runtime import on_first_process


@contextmanager
def exclusive(folder: str | os.PathLike) -> Iterator[Path]:
    """Makes `folder` and locks it until the block ends or the process dies.

    Args:
        folder: the folder to lock; the lock is the file `.lock` in it.

    Raises:
        OSError: the folder cannot be made or written.
        ValueError: another run holds it.

    Example:
        >>> import tempfile
        >>> with exclusive(tempfile.mkdtemp()) as folder:
        ...     folder.is_dir()
        True
    """
    with ExitStack() as held:
        _lock(Path(folder), held)
        yield Path(folder)


@on_first_process
def _lock(folder: Path, held: ExitStack) -> None:
    """Locks `folder`; closing `held` unlocks it."""
    from filelock import FileLock, Timeout

    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out {folder} is a file; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(folder / ".lock", blocking=False))
    except Timeout as error:
        raise ValueError(
            f"--out {folder} is in use by another run; wait for it or choose another"
        ) from error
    except OSError as error:
        raise OSError(
            f"--out {folder} cannot be written ({error.strerror}); choose a folder that can"
        ) from error
