"""Optional packages: imported where they are used, asked for by name where they are missing."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def import_extra(module: str, package: str, needed_by: str) -> ModuleType:
    """Imports `module` of the optional `package`, without its warnings.

    Raises:
      ImportError: it is not installed; the message says who needs it and how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} needs {package}, which cannot be imported ({error}). "
            'Install it: pip install "gsu-jax[experiments]"'
        ) from error


@contextmanager
def silence(logger: str) -> Iterator[None]:
    """Hides what `logger` says below an error, and Python warnings, while the block runs."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
