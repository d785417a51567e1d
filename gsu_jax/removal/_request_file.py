"""The file of a removal request: what is asked, of which model, by when."""

import datetime
import os
import secrets
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gsu_jax.checks import listing
from gsu_jax.data import (
    ForgetAttribute,
    ForgetClass,
    ForgetClasses,
    ForgetFiles,
    ForgetFolder,
    ForgetIndices,
    Request,
)
from gsu_jax.data.sources import settled_name
from gsu_jax.methods import METHODS
from gsu_jax.removal._commitments import CommitmentKey
from gsu_jax.removal._events import CLAIMS, KINDS, REQUEST
from gsu_jax.removal._request_values import (
    are,
    check_keys,
    choice,
    count,
    flag,
    function,
    rate,
    share,
    text,
)

REQUIRED = ("claim", "what", "data", "model", "checkpoint")
BUDGETS = ("utility_budget", "drift_budget")
OPTIONS = ("request", "method", "epochs", "learning_rate", "train", "stop_at_budget", "deadline")
KEYS = (*REQUIRED, *OPTIONS, *BUDGETS)
TRAIN = ("epochs", "learning_rate", "batch_size", "function")
FITTING = {"rows": KINDS, "class": ("class", "attribute"), "concept": ("class", "attribute")}
ANSWERS = tuple(name for name in METHODS if name != "before")


class Training(NamedTuple):
    """How the deployed checkpoint was trained, so that others can be trained without the images.

    Attributes:
        epochs: Passes over the data; Adam takes the steps.
        learning_rate: Of Adam.
        batch_size: Images in a step.
        function: `MODULE:FUNCTION`, called as `function(images, seed) -> params`, in place of
            those; or an empty string.
    """

    epochs: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 128
    function: str = ""


@dataclass(frozen=True)
class RemovalRequest:
    """A request, as its file says it.

    Attributes:
        request: Its number, which names nobody; drawn by lot if the file has none.
        claim: "rows" (the influence of these images), "class" (no class of that name) or "concept"
            (nothing like it). It decides what is evidence.
        what: "class", "attribute", "ids", "folder" or "predicate".
        value: The class, attribute, ids, folder, or `MODULE:FUNCTION` of a predicate, called as
            `function(dataset) -> bool [n]`. It is not shown: it may name somebody.
        data: What `gsu_jax.data.load` takes.
        model: `MODULE:FUNCTION`, which returns a `GenerativeModel`.
        checkpoint: The folder of the deployed weights.
        method: A method of `gsu_jax.METHODS`, or "auto".
        epochs: Passes over the images that the method visits; None for as many over those to
            forget as make 100 steps, and one over retained ones.
        train: How the checkpoint was trained; None if nothing may be retrained.
        utility_budget: By which share the nelbo of retained images may get worse.
        deadline: The last day, or None.
        drift_budget: By which share the nelbo of retained images may get worse since the original
            checkpoint of a series of requests, or None.
        learning_rate: Of the method; None for its own.
        stop_at_budget: Whether the run ends at the last check that is within the budgets, in place
            of a rollback.
    """

    request: str
    claim: str
    what: str
    value: Any = field(repr=False)
    data: str
    model: str
    checkpoint: Path
    method: str = "auto"
    epochs: int | None = None
    train: Training | None = None
    utility_budget: float = 0.01
    deadline: datetime.date | None = None
    drift_budget: float | None = None
    learning_rate: float | None = None
    stop_at_budget: bool = False

    @property
    def forget(self) -> Request:
        """What to forget, for `split` of the images; it raises ValueError if they have no such.

        A predicate is a function of a module, which `service.plan` loads: there is no request yet.
        """
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
            case "predicate":
                raise ValueError(f"what.predicate {self.value} is called by plan")
        return ForgetIndices(self.value) if are(int, self.value) else ForgetFiles(self.value)

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
        today: The day on which the deadline must not have passed; by default this one, in UTC.

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
        return _request(given, path.parent, today or datetime.datetime.now(datetime.UTC).date())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _request(given: Mapping[str, Any], folder: Path, today: datetime.date) -> RemovalRequest:
    check_keys("", given, KEYS)
    for name in REQUIRED:
        if name not in given:
            raise ValueError(f"{name} is missing; the file needs {', '.join(REQUIRED)}")
    claim = choice("claim", given["claim"], CLAIMS)
    what, value = _what(given["what"], folder)
    if what not in FITTING[claim]:
        raise ValueError(
            f'claim must be "rows" for what.{what}, got {claim!r}; a {claim} is given by '
            f"what.{' or what.'.join(FITTING[claim])}"
        )
    data = text("data", given["data"])
    model = function("model", given["model"])
    checkpoint = folder / Path(text("checkpoint", given["checkpoint"])).expanduser()
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
        data=settled_name(data, folder),
        model=model,
        checkpoint=checkpoint,
        method=choice("method", given.get("method", "auto"), ("auto", *ANSWERS)),
        epochs=count("epochs", given["epochs"]) if "epochs" in given else None,
        train=_training(given["train"]) if "train" in given else None,
        utility_budget=share("utility_budget", given.get("utility_budget", 0.01)),
        deadline=_deadline(given.get("deadline"), today),
        drift_budget=share("drift_budget", given["drift_budget"])
        if "drift_budget" in given
        else None,
        learning_rate=rate("learning_rate", given["learning_rate"])
        if "learning_rate" in given
        else None,
        stop_at_budget=flag("stop_at_budget", given.get("stop_at_budget", False)),
    )


def _what(given: Any, folder: Path) -> tuple[str, Any]:
    if not isinstance(given, Mapping) or len(given) != 1:
        got = f"{len(given)} of them" if isinstance(given, Mapping) else repr(given)
        raise ValueError(
            f'what must have one of {listing(KINDS)}, as in what.class = "1"; got {got}'
        )
    ((kind, value),) = given.items()
    check_keys("what.", given, KINDS)
    name = f"what.{kind}"
    if kind == "ids":
        return kind, _ids(name, value)
    if kind == "class":
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"{name} must name a class, got an empty list")
        return kind, [text(name, one) for one in values]
    if kind == "predicate":
        return kind, function(name, value)
    one = text(name, value)
    if kind == "attribute":
        if not one.partition("=")[0].strip() or one.rstrip().endswith("="):
            raise ValueError(f'{name} must be "NAME" or "NAME=VALUE", got {one!r}')
        return kind, one
    path = folder / Path(one).expanduser()
    try:
        ForgetFolder(path)
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('forget: ')}") from error
    return kind, path


def _training(given: Any) -> Training:
    if not isinstance(given, Mapping):
        raise ValueError(f"train must be a table such as train.epochs = 60, got {given!r}")
    check_keys("train.", given, TRAIN)
    if ("function" in given) == ("epochs" in given):
        raise ValueError(
            f"train must have epochs or function, one of the two, got {listing(given) or 'neither'}"
        )
    if "function" in given:
        return Training(function=function("train.function", given["function"]))
    return Training(
        count("train.epochs", given["epochs"]),
        rate("train.learning_rate", given.get("learning_rate", 1e-3)),
        count("train.batch_size", given.get("batch_size", 128)),
    )


def _ids(name: str, value: Any) -> list:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} must be a list such as [3, 14] or ['a.png'], got {value!r}")
    if not are(int, value) and not are(str, value):
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
