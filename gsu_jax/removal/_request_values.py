"""Values of a request file: each is checked, and an error names its key."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from gsu_jax.checks import listing, near

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def text(name: str, value: Any) -> str:
    """Returns text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text in quotes, got {value!r}")
    return value


def function(name: str, value: Any) -> str:
    """Returns a `MODULE:FUNCTION`."""
    if not FUNCTION.fullmatch(text(name, value)):
        raise ValueError(f'{name} must be "MODULE:FUNCTION", such as "models:faces", got {value!r}')
    return value


def count(name: str, value: Any) -> int:
    """Returns a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return value


def share(name: str, value: Any) -> float:
    """Returns a share above 0, at most 1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= 1:
        raise ValueError(f"{name} must be a share above 0, at most 1, as 0.01, got {value!r}")
    return float(value)


def rate(name: str, value: Any) -> float:
    """Returns a learning rate, above 0 and below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"{name} must be above 0, below 1, as 1e-3, got {value!r}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Returns true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, without quotes, got {value!r}")
    return value


def choice(name: str, value: Any, known: Collection[str]) -> str:
    """Returns one of the known words."""
    if not isinstance(value, str) or value not in known:
        question = near(value, known) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.{question}")
    return value


def check_keys(prefix: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises ValueError for a key that is not known."""
    for name in given:
        if name not in known:
            raise ValueError(
                f"{prefix}{name} is no key of a request.{near(name, known)} Known: {listing(known)}"
            )


def are(kind: type, values: list) -> bool:
    """Whether all values are of one kind, booleans apart."""
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
