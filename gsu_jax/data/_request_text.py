"""Parses the command line's `--forget`."""

import re
from pathlib import Path

from gsu_jax.checks import listing, near, unknown
from gsu_jax.data._dataset import FLAG, Source
from gsu_jax.data._file_request import parse_files
from gsu_jax.data._request import Request
from gsu_jax.data._requests import ForgetAttribute, ForgetClass, ForgetClasses, ForgetIndices

INDICES, FILES = "indices:", "files:"


def parse_request(text: str, source: Source) -> Request:
    """Parses the text of `--forget`.

    - `1`, `1,7`: a class of the source's label, or several;
    - `Male`, `Male=False`, `shape=heart`: an attribute, with or without a value;
    - `indices:0,5,17` or `indices:@FILE`: training images. In the file spaces, commas or newlines
      separate them;
    - `files:cat/17.png,42.png` or `files:@LIST`: training images by their names, or the ends of
      them. The list has a name in each line.

    Args:
        text: The text.
        source: The source whose classes and attributes the text names.

    Returns:
        A request that is valid for `source`, except that indices or files may not be there.

    Raises:
        ValueError: The text is none of these; the error suggests similar names and lists all.

    Example:
        >>> from gsu_jax.data import load
        >>> parse_request("1", load("digits"))
        ForgetClass(value='1', attribute=None)
        >>> parse_request("indices:0,5,17", load("digits"))
        ForgetIndices(indices=(0, 5, 17))
    """
    text = text.strip()
    label_classes = source.classes[source.label]
    if text.startswith(INDICES):
        return ForgetIndices(_parse_indices(text.removeprefix(INDICES)))
    if text.startswith(FILES):
        return parse_files(text.removeprefix(FILES))
    if text in label_classes:
        return ForgetClass(text)
    several = [word.strip() for word in text.split(",")]
    if len(several) > 1 and any(word in label_classes for word in several):
        request = ForgetClasses(several)
        request.masks(source)
        return request
    name, equals, value = (word.strip() for word in text.partition("="))
    if name in source.classes:
        if source.classes[name] == FLAG and value.capitalize() in FLAG:
            value = value.capitalize()
        request = ForgetAttribute(name, value if equals and value != "True" else True)
        request.masks(source)
        return request
    if equals:
        raise unknown("forget", "attribute", name, source.classes)
    raise ValueError(
        f"forget: {text!r} is no class or attribute of {source.name}."
        f"{near(text, [*label_classes, *source.classes])} Classes of {source.label}: "
        f"{listing(label_classes)}. Attributes: {listing(source.classes)}. Or indices:0,5,17, or "
        "files:a.png,b.png"
    )


def _parse_indices(text: str) -> list[int]:
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"forget: cannot read the indices in {path} ({error})") from error
    words = [word for word in re.split(r"[\s,]+", text) if word]
    wrong = [word for word in words if not re.fullmatch(r"-?\d{1,18}", word)]
    if wrong:
        raise ValueError(
            f"forget: indices must be integers such as {INDICES}0,5,17, got "
            f"{listing(repr(word) for word in wrong)}. Names of images are given by {FILES}"
        )
    return [int(word) for word in words]
