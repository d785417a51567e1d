"""The options of a command in what it says: the nearest to a misspelled one, and their names."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_type_hints

from gsu_jax.checks import near

# Arguments of `load`, of which its messages speak, and the fields whose options set them.
FIELDS = {"image_size": "size", "data_dir": "data_dir", "holdout": "holdout"}


def options_of(kind: type) -> list[str]:
    """Returns the options that tyro makes of a dataclass: "--data-dir", "--quick", "--no-quick"."""
    from tyro.conf import Positional

    options = ["--help"]
    for name, hint in get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        options += [] if Positional in marks else [_option(name)]
        options += [_option(f"no-{name}")] if hint is bool else []
        options += [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
    return options


def unknown_option(words: Iterable[str], options: Iterable[str]) -> tuple[str, str]:
    """Returns the first word that is no option but looks like one, and the question "Did you mean".

    Both are empty strings if there is none.

    Example:
        >>> unknown_option(["photos", "--forgot=cat"], ["--forget", "--out"])
        ('--forgot', " Did you mean '--forget'?")
    """
    options = list(options)
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if re.match("--?[a-zA-Z]", option) and option not in (*options, "-h"):
            # Without the dashes, which make all options alike.
            question = near(option.lstrip("-"), [known.lstrip("-") for known in options])
            return option, re.sub(r"(?<!\w)'(?=\w)", "'--", question)
    return "", ""


def in_options(message: str, arguments: Any) -> str:
    """Says options of a dataclass where a message of the library says arguments of `load`.

    Example:
        >>> from gsu_jax.cli._run import Arguments
        >>> in_options("Give image_size= to resize them, and leave holdout=0 out", Arguments)
        'Give --size to resize them, and leave --holdout 0 out'
        >>> in_options('tfds.builder("mnist", data_dir="here")', Arguments)
        'tfds.builder("mnist", data_dir="here")'
    """
    known = {field.name for field in fields(arguments)}
    for argument, field in FIELDS.items():
        if field in known:
            option = _option(field)
            # Python is quoted as it is: load(..., holdout=0).
            message = re.sub(rf"(?<!, )\b{argument}=(?=\w)", f"{option} ", message)
            message = re.sub(
                rf"(?<!, )\b{argument}=(?!\w)|(?:^|(?<=: )){argument}\b", option, message
            )
    return message


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
