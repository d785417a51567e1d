"""Parses the command line's `--forget`."""

import re
from collections.abc import Callable
from pathlib import Path

from gsu_jax.checks import listing, near, unknown
from gsu_jax.data._dataset import FLAG, Source
from gsu_jax.data._listed import ForgetFiles, ForgetIndices
from gsu_jax.data._request import Request
from gsu_jax.data._requests import ForgetAttribute, ForgetClass, ForgetClasses

INDICES = "indices:"
FILES = "files:"


def parse_request(text: str, source: Source) -> Request:
    """Parses the text of `--forget`.

    - `1`: a class of the source's label; `Bag,Sandal`: several;
    - `Male`, `Male=False`, `shape=heart`, `shape=heart,square`: an attribute, with or without
      values;
    - `indices:0,5,17` or `indices:@FILE`: training images. In the file spaces, commas or newlines
      separate them;
    - `files:a.png,Bag/b.png` or `files:@FILE`: training images by the names of their files. The
      file has one name a line.

    A class whose name has a comma is taken as it is. `@FILE` may stand between other indices or
    names.

    Args:
        text: The text.
        source: The source whose classes, attributes and files the text names.

    Returns:
        A request that is valid for `source`, except that indices may be too large.

    Raises:
        TypeError: `text` is no string.
        ValueError: The text is none of these; the error suggests similar names and lists all.

    Example:
        >>> from gsu_jax.data import load
        >>> digits = load("digits")
        >>> parse_request("1", digits)
        ForgetClass(value='1', attribute=None)
        >>> parse_request("1,3", digits)
        ForgetClasses(values=('1', '3'), attribute=None)
        >>> parse_request("indices:0,5,17", digits)
        ForgetIndices(indices=(0, 5, 17))
    """
    if not isinstance(text, str):
        raise TypeError(
            'forget must be text such as "1", "Bag,Sandal" or "files:a.png", got '
            f"{text!r}. A request in Python needs no parsing: request.split(source)"
        )
    text = text.strip()
    if text.startswith(INDICES):
        return ForgetIndices(_integers(_entries(text.removeprefix(INDICES), _words)))
    if text.startswith(FILES):
        request = ForgetFiles(_entries(text.removeprefix(FILES), str.splitlines))
        request.indices(source)
        return request
    return _parse_classes(text, source)


def _parse_classes(text: str, source: Source) -> Request:
    classes = source.classes[source.label]
    several = [word.strip() for word in text.split(",")]
    if text in classes:
        return ForgetClass(text)
    if all(word in classes for word in several):
        return ForgetClasses(several)
    name, equals, value = (word.strip() for word in text.partition("="))
    if name in source.classes:
        names = source.classes[name]
        if names == FLAG and value.capitalize() in FLAG:
            value = value.capitalize()
        request: Request = ForgetAttribute(name, value if equals and value != "True" else True)
        if "," in value and value not in names:
            request = ForgetClasses([word.strip() for word in value.split(",")], name)
        request.masks(source)
        return request
    if equals:
        raise unknown("forget", "attribute", name, source.classes)
    known = {*classes, *source.classes}
    wrong = next((word for word in several if word not in known), text)
    raise ValueError(
        f"forget: {wrong!r} is no class or attribute of {source.name}."
        f"{near(wrong, [*classes, *source.classes])} Classes of {source.label}: "
        f"{listing(classes)}. Attributes: {listing(source.classes)}. Or indices:0,5,17"
        f"{'' if source.train.names is None else ', or files:' + str(source.train.names[0])}"
    )


def _entries(text: str, split: Callable[[str], list[str]]) -> list[str]:
    """Returns what stands between the commas of `text`, with the content of each `@FILE`."""
    whole = text.strip()
    is_file = whole.startswith("@") and Path(whole[1:]).expanduser().is_file()
    parts = [
        _read(part[1:]) if part.startswith("@") else part
        for part in map(str.strip, [whole] if is_file else text.split(","))
    ]
    return [entry.strip() for part in parts for entry in split(part) if entry.strip()]


def _read(name: str) -> str:
    path = Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"forget: cannot read the list {path} ({error})") from error
    if not text.strip(" ,\n\r\t"):
        raise ValueError(f"forget: the list {path} is empty; expected one image a line")
    return text


def _words(text: str) -> list[str]:
    return re.split(r"[\s,]+", text)


def _integers(words: list[str]) -> list[int]:
    wrong = [word for word in words if not re.fullmatch(r"-?\d{1,18}", word)]
    if wrong:
        raise ValueError(
            f"forget: indices must be integers such as {INDICES}0,5,17, got "
            f"{listing(repr(word) for word in wrong)}. Names of files: {FILES}a.png,b.png"
        )
    return [int(word) for word in words]
