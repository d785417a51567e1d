"""Argument checks: ranges, choices, near misses, missing extras.

Each check takes the constraint first and the arguments by name, as in `at_least(1, batch_size=n)`.
Checks of numbers skip traced values and refuse NaN.
"""

import difflib
import importlib
import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import jax
import numpy as np


def is_traced(*values: Any) -> bool:
    """Whether one of `values` is traced by JAX, so that its value is unknown here."""
    return any(isinstance(value, jax.core.Tracer) for value in values)


def at_least(minimum: float, /, **values: Any) -> None:
    """Raises ValueError for a value below `minimum`.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is NaN or below `minimum`.

    Example:
        >>> at_least(1, batch_size=32)
        >>> at_least(1, batch_size=0)
        Traceback (most recent call last):
        ValueError: batch_size must be at least 1, got 0
    """
    _check_numbers(values, lambda value: value >= minimum, f"at least {minimum}")


def above(bound: float, /, **values: Any) -> None:
    """Raises ValueError for a value that is not above `bound`."""
    _check_numbers(values, lambda value: value > bound, f"above {bound}")


def at_most(maximum: float, /, **values: Any) -> None:
    """Raises ValueError for a value above `maximum`."""
    _check_numbers(values, lambda value: value <= maximum, f"at most {maximum}")


def in_range(low: float, high: float, /, **values: Any) -> None:
    """Raises ValueError for a value outside [`low`, `high`)."""
    _check_numbers(values, lambda value: low <= value < high, f"in [{low}, {high})")


def between(low: float, high: float, /, **values: Any) -> None:
    """Raises ValueError for a value outside (`low`, `high`)."""
    _check_numbers(values, lambda value: low < value < high, f"in ({low}, {high})")


def finite(**values: Any) -> None:
    """Raises ValueError for NaN and for an infinite number."""
    _check_numbers(values, np.isfinite, "finite")


def integer(**values: Any) -> None:
    """Raises TypeError for a value that is not an integer (of Python or NumPy; not a boolean)."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be an integer, got {value!r}")


def whole(minimum: int, /, **values: Any) -> None:
    """Raises for a value that is no integer, or one below `minimum`.

    Raises:
        TypeError: A value is no integer.
        ValueError: A value is below `minimum`.

    Example:
        >>> whole(1, steps=2.5)
        Traceback (most recent call last):
        TypeError: steps must be an integer, got 2.5
    """
    integer(**{name: value for name, value in values.items() if not is_traced(value)})
    at_least(minimum, **values)


def random_key(**values: Any) -> None:
    """Raises TypeError for a value that is no JAX random key."""
    for name, value in values.items():
        is_array = isinstance(value, jax.Array | np.ndarray)
        if not is_array or not (
            jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key) or value.dtype == np.uint32
        ):
            raise TypeError(
                f"{name} must be a JAX random key, got {value!r}; give jax.random.key(0), or "
                "another seed"
            )


def choice(choices: Collection[str], otherwise: str = "", /, **values: Any) -> None:
    """Raises ValueError for a value that is not in `choices`, with the nearest of them.

    Args:
        choices: The strings that are allowed.
        otherwise: What else the caller accepts, for the message: "a tree of labels".
        **values: The arguments to check, by name.

    Example:
        >>> choice(("always", "conflict"), when="never")
        Traceback (most recent call last):
        ValueError: when must be "always" or "conflict", got 'never'
    """
    for name, value in values.items():
        if value not in choices:
            allowed = [*(f'"{known}"' for known in choices), *filter(None, [otherwise])]
            suggestion = near(value, choices) if isinstance(value, str) else ""
            got = f"{value!r}.{suggestion}" if suggestion else repr(value)
            raise ValueError(f"{name} must be {' or '.join(allowed)}, got {got}")


def _check_numbers(values: dict[str, Any], holds: Callable[[Any], Any], expected: str) -> None:
    for name, value in values.items():
        if is_traced(value):
            continue
        if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "biuf":
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not holds(value):
            raise ValueError(f"{name} must be {expected}, got {value}")


LONGEST_LIST = 20


def listing(names: Iterable[str]) -> str:
    """`names` joined by commas, at most the first 20 of them."""
    names = list(names)
    shown = ", ".join(names[:LONGEST_LIST])
    rest = len(names) - LONGEST_LIST
    return f"{shown} and {rest} more" if rest > 0 else shown or "none"


def near(got: str, known: Iterable[str]) -> str:
    """A question that suggests the names in `known` closest to `got`, or an empty string."""
    by_lower_case = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(got.lower(), by_lower_case, n=3, cutoff=0.6)
    if not matches:
        return ""
    return f" Did you mean {' or '.join(repr(by_lower_case[match]) for match in matches)}?"


def unknown(argument: str, kind: str, got: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in `known`, with the nearest names and all names."""
    known = list(known)
    return ValueError(
        f"{argument}: unknown {kind} {str(got)!r}.{near(str(got), known)} Known: {listing(known)}"
    )


def import_extra(
    module: str, package: str, needed_by: str, *, extra: str = "experiments"
) -> ModuleType:
    """Imports `module` of the optional `package`, which `extra` installs, without its warnings.

    Raises:
        ImportError: The package is missing; the message says what needs it and how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{needed_by} needs {package}, which cannot be imported ({error}). "
            f'Install it: pip install "gsu-jax[{extra}]"'
        ) from error


@contextmanager
def silence(logger: str) -> Iterator[None]:
    """Hides Python warnings and messages of `logger` below errors while the block runs."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
