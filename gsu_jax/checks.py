"""Argument checks: choices, near misses, missing extras."""

import difflib
import importlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


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


LONGEST_LIST = 20


def listing(names: Iterable[str]) -> str:
    """`names` with commas, the first 20 of them where there are more."""
    names = list(names)
    shown = ", ".join(names[:LONGEST_LIST])
    rest = len(names) - LONGEST_LIST
    return f"{shown} and {rest} more" if rest > 0 else shown or "none"


def near(found: str, known: Iterable[str]) -> str:
    """A question (did you mean ...?) with the names in `known` like `found`, or nothing."""
    by_lower_case = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(found.lower(), by_lower_case, n=3, cutoff=0.6)
    if not matches:
        return ""
    return f" Did you mean {' or '.join(repr(by_lower_case[match]) for match in matches)}?"


def unknown(argument: str, kind: str, found: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in `known`."""
    known = list(known)
    return ValueError(
        f"{argument}: there is no {kind} {str(found)!r}.{near(str(found), known)} "
        f"There is: {listing(known)}."
    )


def check_choice(name: str, value: Any, choices: tuple[str, ...], otherwise: str = "") -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        listed = " or ".join([*(f'"{choice}"' for choice in choices), *filter(None, [otherwise])])
        raise ValueError(f"{name} must be {listed}; got {value!r}")
