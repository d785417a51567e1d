"""A case that one command holds against all others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gsu_jax.storage import exclusive


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Makes the folder of a case and locks it until the block ends or the process dies.

    Raises:
        OSError: The folder cannot be written.
        ValueError: Another command holds it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(folder))
        except ValueError as error:
            raise ValueError(
                f"request {folder.name} is in use by another command; wait for it"
            ) from error
        except OSError as error:
            why = getattr(error.__cause__, "strerror", None) or error
            raise OSError(
                f"cannot write {folder}: {why}; check free space and permissions"
            ) from error
        yield
