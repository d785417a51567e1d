"""A folder held against a second run."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gsu_jax.runtime import broadcast_from_first

try:
    import fcntl
except ImportError:  # Windows has no flock: there two runs in one folder are not held apart.
    fcntl = None


@contextmanager
def exclusive(folder: str | os.PathLike) -> Iterator[Path]:
    """Makes `folder` and holds it against a second run until the block ends (or the process does).

    Raises:
      OSError: the folder cannot be made or written.
      ValueError: another process is at work in it.
    """
    with ExitStack() as held:
        broadcast_from_first(lambda: _hold(Path(folder), held))
        yield Path(folder)


def _hold(folder: Path, held: ExitStack) -> None:
    """Locks `folder`; closing `held` lets go."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out {folder} is a file; give a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = held.enter_context((folder / ".lock").open("w"))
    except OSError as error:
        raise OSError(
            f"--out {folder} cannot be written ({error.strerror}); choose a folder that can."
        ) from error
    if fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"--out {folder} is in use by another run; wait for it or choose another."
            ) from error
