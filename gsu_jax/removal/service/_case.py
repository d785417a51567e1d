"""`Case`: the folder of one request, and what the ledger says of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsu_jax.data import Source, SourceSplit, Split, load
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.removal._commitments import RequestKeys
from gsu_jax.removal._database import Database
from gsu_jax.removal._digest import weights_digest
from gsu_jax.removal._events import ENDS, STEPS, Event, check_type
from gsu_jax.removal._ledger import Ledger
from gsu_jax.removal._request_file import Training
from gsu_jax.removal._signing import RoleKey, load_key, load_public_keys
from gsu_jax.removal.service._behind import FACTS, cases_behind
from gsu_jax.removal.service._facts import planned_facts
from gsu_jax.removal.service._files import Record, read_json, write_json
from gsu_jax.removal.service._hold import hold
from gsu_jax.removal.service._imports import load_model, load_params
from gsu_jax.removal.service._left_out import find_left_out, leave_out
from gsu_jax.storage import CheckpointError

PRIVATE, CURRENT = "private.json", "current.json"


class Weights(NamedTuple):
    """A checkpoint.

    Attributes:
        path: Its folder.
        digest: The SHA-256 of its weights.
    """

    path: Path
    digest: str


class Case:
    """A request that was planned: its files, and its events in the ledger.

    `FOLDER/cases/NUMBER/` holds `case.json` (no personal data), `private.json` (the positions of
    the images, until the purge), pictures, retrained models, and the report. The ledger decides
    what was done; the files are what it was done with.

    Args:
        folder: Of all cases: `ledger.sqlite`, `keys/`, `secrets/`, `cases/`.
        number: Of the request.
        ledger: Where the ledger is, if not in the folder.
        keys: The folder of the keys, if not in the folder.
        project: Begins the ledger of this project with the first event, if there is none.
        although_clock_set_back: Takes steps although the clock is before the last event.

    Raises:
        ValueError: The number is no number of a request.

    Example:
        >>> import tempfile
        >>> case = Case(tempfile.mkdtemp(), "2026-014", project="faces")
        >>> case.stage, case.events
        ('', [])
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        number: str,
        *,
        ledger: str | os.PathLike | None = None,
        keys: str | os.PathLike | None = None,
        project: str | None = None,
        although_clock_set_back: bool = False,
    ):
        check_type("received", number)
        self.home, self.number = Path(folder), number
        self.folder = self.home / "cases" / number
        self.location, self.project = ledger or self.home / "ledger.sqlite", project
        self.keys = Path(keys or self.home / "keys")
        self.secrets = RequestKeys(self.home / "secrets")
        self.agreed = {"although_clock_set_back": although_clock_set_back}

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the request."""
        return Ledger(self.location, self.project, **self.agreed)

    @property
    def is_begun(self) -> bool:
        """Whether there is a ledger."""
        return "ledger" in self.__dict__ or Database(self.location).is_begun()

    def check_clock(self) -> datetime:
        """Returns the later of the clock and the last event; LedgerError if it was set back."""
        return self.ledger.check_clock() if self.is_begun else datetime.now(UTC)

    def key(self, role: str) -> RoleKey:
        """Returns the private key of a role."""
        return load_key(self.keys, role)

    @property
    def events(self) -> list[Event]:
        """The events of the request; none if the ledger is still to be begun."""
        if self.project and not self.is_begun:
            return []
        return self.ledger.events(self.number)

    @property
    def stage(self) -> str:
        """The last step that was taken, "" before the first; purges and notices are none."""
        return next((e.type for e in reversed(self.events) if e.type in STEPS), "")

    @property
    def released(self) -> bool:
        """Whether it was released, and not undone since."""
        ends = [event.type for event in self.events if event.type in ("released", "undone")]
        return ends[-1:] == ["released"]

    def last(self, type: str) -> Event:
        """Returns the last event of a type, which must be there."""
        return next(event for event in reversed(self.events) if event.type == type)

    @property
    def checkpoint(self) -> str:
        """The SHA-256 of the weights of the last run, as the ledger has it."""
        return self.last("ran").weights

    def require(self, *stages: str, to: str) -> str:
        """Returns the stage, or raises ValueError if it is none of `stages`."""
        stage = self.stage
        if stage in ENDS:
            raise ValueError(f"request {self.number} is {stage}: nothing may follow")
        if not stage or not self.facts_path.is_file():
            raise ValueError(self._is_not_planned)
        if stage not in stages:
            last = f"the last step of request {self.number} is {stage!r}"
            raise ValueError(f"{last}; to {to} it must be {' or '.join(map(repr, stages))}")
        return stage

    @property
    def _is_not_planned(self) -> str:
        where = f"request {self.number} is not planned in {self.home}"
        return f"{where}; gsu-jax removal plan REQUEST.toml comes first"

    @contextmanager
    def locked(self, *, new: bool = False) -> Iterator[None]:
        """Holds the case against other commands, once the clock is found right.

        A `new` case has no folder yet. `hold` and `check_clock` say what is raised.
        """
        self.check_clock()
        if not new and not self.folder.is_dir():
            raise ValueError(self._is_not_planned)
        with hold(self.folder):
            yield

    # Files

    @property
    def facts_path(self) -> Path:
        """Of `case.json`."""
        return self.folder / FACTS

    @cached_property
    def facts(self) -> Record:
        """What `plan` wrote down, without personal data."""
        return planned_facts(self.facts_path, self.events)

    @cached_property
    def private(self) -> Record:
        """What `plan` wrote down of the images to forget: their positions, and their target."""
        if not (self.folder / PRIVATE).is_file():
            raise ValueError(
                f"request {self.number} was purged: which images it is about is not known any more"
            )
        return read_json(self.folder / PRIVATE, "positions", "target")

    @property
    def positions(self) -> np.ndarray:
        """The positions of the images to forget among the training images."""
        return np.array(self.private["positions"], np.int64)

    @property
    def published(self) -> Path:
        """Where the new checkpoint is, or will be: beside the old one."""
        attempt = sum(event.type == "undone" for event in self.events) + (self.stage != "undone")
        name = f"{self.base.name}-{self.number}" + (f"-{attempt}" if attempt > 1 else "")
        return self.base.with_name(name)

    @property
    def base(self) -> Path:
        """The checkpoint that was deployed."""
        return Path(self.facts["checkpoint"])

    @property
    def current(self) -> Record:
        """Which checkpoint is to be deployed, by `current.json`."""
        path = self.home / CURRENT
        return read_json(path, "checkpoint", "weights") if path.is_file() else {}

    def point_to(self, checkpoint: Path, weights: str) -> None:
        """Makes a checkpoint the current one."""
        write_json(self.home / CURRENT, {"checkpoint": str(checkpoint), "weights": weights})

    # The series

    def other(self, number: str) -> "Case":
        """Another case of the same folder."""
        shared = {"ledger": self.location, "keys": self.keys, "project": self.project}
        return Case(self.home, number, **shared, **self.agreed)

    def behind(self, weights: str, before: int | None = None) -> list["Case"]:
        """The cases that led to a checkpoint, the oldest first; of runs `before` an event alone."""
        return cases_behind(self, weights, before)

    @cached_property
    def earlier(self) -> list["Case"]:
        """The requests behind the checkpoint that this one starts from, the oldest first."""
        if self.facts.get("union_of"):  # it begins a series of its own
            return []
        ran = [event.seq for event in self.events if event.type == "ran"]
        is_done = ran and self.stage not in ("planned", "undone")
        return self.behind(self.facts["base"], ran[-1] if is_done else None)

    @property
    def rows(self) -> list["Case"]:
        """The requests that its checkpoint answers: earlier ones, or those of a union, and it."""
        union = [self.other(number) for number in self.facts.get("union_of", ())]
        return [*(union or self.earlier), self]

    @property
    def original(self) -> Weights:
        """The checkpoint that the first request of the series started from."""
        first = (self.earlier or [self])[0]
        return Weights(first.base, first.facts["base"])

    # Data and models

    @cached_property
    def source(self) -> Source:
        """The images, which must be those of the plan."""
        source = load(self.facts["data"])
        if source.fingerprint != self.facts["fingerprint"]:
            raise ValueError(
                f"data: {source.name} has changed since request {self.number} was planned "
                f"(fingerprint {source.fingerprint}, then {self.facts['fingerprint']})"
            )
        return source

    @cached_property
    def split(self) -> SourceSplit:
        """Training and held-out images: to forget, and to retain without earlier requests' ones."""
        source, train = self.source, np.zeros(len(self.source.train), bool)
        train[self.positions] = True
        test = np.zeros(len(source.test), bool)
        if target := self.target:
            test = np.isin(source.test.attributes[target[0]], target[1])
        split = SourceSplit(
            Split(source.train, train, "the request"), Split(source.test, test, "the request")
        )
        return self.without(self.earlier, split, source)

    def without(self, earlier: list["Case"], split: SourceSplit, source: Source) -> SourceSplit:
        """Returns a split that retains nothing of earlier requests."""
        if not earlier:
            return split
        keys = load_public_keys(self.keys)
        out = find_left_out(source, [case.folder for case in earlier], keys)
        return leave_out(split, out)

    @property
    def target(self) -> tuple[str, tuple[int, ...]] | None:
        """The attribute and its classes that are forgotten; None for a list of images."""
        return (found[0], tuple(found[1])) if (found := self.private["target"]) else None

    @property
    def training(self) -> Training | None:
        """How the checkpoint was trained, if the request says so."""
        return Training(**self.facts["train"]) if self.facts["train"] else None

    @cached_property
    def model(self) -> GenerativeModel:
        """The model that the request names."""
        return load_model(self.facts["model"], self.facts["modules"])

    def load(self, path: Path, weights: str, whose: str) -> Params:
        """Returns the parameters of a checkpoint, which must have the digest `weights`."""
        params = load_params(path, self.model)
        if (found := weights_digest(params)) != weights:
            raise CheckpointError(
                f"checkpoint {path} is not {whose}: its weights have the SHA-256 {found[:16]}..., "
                f"and the ledger says {weights[:16]}..."
            )
        return params
