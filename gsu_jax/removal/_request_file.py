"""The file of a removal request: what is asked, of which model, by when."""

import datetime
import os
import re
import secrets
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gsu_jax.checks import listing, near
from gsu_jax.data import (
    ForgetAttribute,
    ForgetClass,
    ForgetClasses,
    ForgetFiles,
    ForgetFolder,
    ForgetIndices,
    Request,
)
from gsu_jax.methods import METHODS
from gsu_jax.removal._commitments import CommitmentKey
from gsu_jax.removal._events import CLAIMS, KINDS, REQUEST

REQUIRED = ("claim", "what", "data", "model", "checkpoint")
KEYS = (*REQUIRED, "request", "method", "utility_budget", "deadline")
FITTING = {"rows": KINDS, "class": ("class", "attribute"), "concept": ("class", "attribute")}
ANSWERS = tuple(name for name in METHODS if name != "before")
MODEL = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class RemovalRequest:
    """A request, as its file says it.

    Attributes:
        request: Its number, which names nobody; drawn by lot if the file has none.
        claim: "rows" (the influence of these images), "class" (no class of that name) or "concept"
            (nothing like it). It decides what is evidence.
        what: "class", "attribute", "ids" or "folder".
        value: The class, attribute, ids or folder. It is not shown: it may name somebody.
        data: What `gsu_jax.data.load` takes.
        model: `MODULE:FUNCTION`, which returns a `GenerativeModel`.
        checkpoint: The folder of the deployed weights.
        method: A method of `gsu_jax.METHODS`, or "auto".
        utility_budget: By which share the nelbo of retained images may get worse.
        deadline: The last day, or None.
    """

    request: str
    claim: str
    what: str
    value: Any = field(repr=False)
    data: str
    model: str
    checkpoint: Path
    method: str = "auto"
    utility_budget: float = 0.01
    deadline: datetime.date | None = None

    @property
    def forget(self) -> Request:
        """What to forget, for `split` of the images; it raises ValueError if they have no such."""
        match self.what:
            case "class" if len(self.value) == 1:
                return ForgetClass(self.value[0])
            case "class":
                return ForgetClasses(self.value)
            case "attribute":
                name, _, value = self.value.partition("=")
                return ForgetAttribute(name.strip(), value.strip() or True)
            case "folder":
                return ForgetFolder(self.value)
        return ForgetIndices(self.value) if _are(int, self.value) else ForgetFiles(self.value)

    def received(self, key: CommitmentKey) -> dict[str, Any]:
        """Returns what the ledger says when the request is received; it names nobody."""
        values = [str(self.value)] if isinstance(self.value, str | Path) else self.value
        said = {
            "claim": self.claim,
            "what": self.what,
            "commitments": key.commit(values, kind=self.what),
        }
        return said | ({"deadline": str(self.deadline)} if self.deadline else {})


def read_request(path: str | os.PathLike, *, today: datetime.date | None = None) -> RemovalRequest:
    """Reads the TOML file of a request.

    Paths in the file are relative to its folder. The file holds what must be forgotten: remove it
    when the request has ended.

    Args:
        path: The file.
        today: The day on which the deadline must not have passed; by default this one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no TOML, a key is unknown or missing, or a value is unfit. The
            sentence names the key, what was got, and the fix.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / "weights").mkdir()
        >>> _ = (folder / "request.toml").write_text('''
        ... request = "2026-014"
        ... claim = "rows"
        ... what.ids = [3, 14, 159]
        ... data = "digits"
        ... model = "my_models:faces"
        ... checkpoint = "weights"
        ... ''')
        >>> request = read_request(folder / "request.toml")
        >>> request.method, request.forget
        ('auto', ForgetIndices(indices=(3, 14, 159)))
    """
    path = Path(path)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no request file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is no TOML file that can be read: {error}") from error
    try:
        return _request(given, path.parent, today or datetime.date.today())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _request(given: Mapping[str, Any], folder: Path, today: datetime.date) -> RemovalRequest:
    _check_keys("", given, KEYS)
    for name in REQUIRED:
        if name not in given:
            raise ValueError(f"{name} is missing; the file needs {', '.join(REQUIRED)}")
    claim = _choice("claim", given["claim"], CLAIMS)
    what, value = _what(given["what"], folder)
    if what not in FITTING[claim]:
        raise ValueError(
            f'claim must be "rows" for what.{what}, got {claim!r}; a {claim} is given by '
            f"what.{' or what.'.join(FITTING[claim])}"
        )
    data = _text("data", given["data"])
    model = _text("model", given["model"])
    if not MODEL.fullmatch(model):
        raise ValueError(f'model must be "MODULE:FUNCTION", such as "models:faces", got {model!r}')
    checkpoint = folder / Path(_text("checkpoint", given["checkpoint"])).expanduser()
    if not checkpoint.is_dir():
        raise ValueError(f"checkpoint must be the folder of the weights, got {checkpoint}")
    number = given.get("request", f"r-{secrets.token_hex(6)}")
    if not isinstance(number, str) or not REQUEST.fullmatch(number):
        raise ValueError(
            "request must be a number or code in quotes that names nobody, of at most 64 letters, "
            f"digits and ._-, got {number!r}"
        )
    return RemovalRequest(
        request=number,
        claim=claim,
        what=what,
        value=value,
        data=str(folder / data) if (folder / data).exists() else data,
        model=model,
        checkpoint=checkpoint,
        method=_choice("method", given.get("method", "auto"), ("auto", *ANSWERS)),
        utility_budget=_share("utility_budget", given.get("utility_budget", 0.01)),
        deadline=_deadline(given.get("deadline"), today),
    )


def _what(given: Any, folder: Path) -> tuple[str, Any]:
    if not isinstance(given, Mapping) or len(given) != 1:
        got = f"{len(given)} of them" if isinstance(given, Mapping) else repr(given)
        raise ValueError(
            f'what must have one of {listing(KINDS)}, as in what.class = "1"; got {got}'
        )
    ((kind, value),) = given.items()
    _check_keys("what.", given, KINDS)
    name = f"what.{kind}"
    if kind == "ids":
        return kind, _ids(name, value)
    if kind == "class":
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"{name} must name a class, got an empty list")
        return kind, [_text(name, one) for one in values]
    text = _text(name, value)
    if kind == "attribute":
        if not text.partition("=")[0].strip() or text.rstrip().endswith("="):
            raise ValueError(f'{name} must be "NAME" or "NAME=VALUE", got {text!r}')
        return kind, text
    path = folder / Path(text).expanduser()
    try:
        ForgetFolder(path)
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('forget: ')}") from error
    return kind, path


def _ids(name: str, value: Any) -> list:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} must be a list such as [3, 14] or ['a.png'], got {value!r}")
    if not _are(int, value) and not _are(str, value):
        raise ValueError(f"{name} must be all positions or all names of files, got {value!r}")
    twice = sorted(one for one, count in Counter(value).items() if count > 1)
    if twice:
        raise ValueError(f"{name} must name each image once, got twice: {listing(map(str, twice))}")
    wrong = [one for one in value if one == "" or (isinstance(one, int) and one < 0)]
    if wrong:
        raise ValueError(f"{name} must be positions from 0 or names of files, got {wrong[0]!r}")
    return value


def _deadline(value: Any, today: datetime.date) -> datetime.date | None:
    if value is None:
        return None
    if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
        raise ValueError(f"deadline must be a day without quotes, as 2026-12-30, got {value!r}")
    if value < today:
        raise ValueError(f"deadline must not have passed, got {value}, and today is {today}")
    return value


def _share(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= 1:
        raise ValueError(f"{name} must be a share above 0, at most 1, as 0.01, got {value!r}")
    return float(value)


def _choice(name: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        question = near(value, known) if isinstance(value, str) else ""
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.{question}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text in quotes, got {value!r}")
    return value


def _check_keys(prefix: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(
                f"{prefix}{name} is no key of a request.{near(name, known)} Known: {listing(known)}"
            )


def _are(kind: type, values: list) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
