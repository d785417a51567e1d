"""A series of requests on one desk: each step's "unlearning" is a function of the test."""

import contextlib
from types import SimpleNamespace
from unittest import mock

import desk_models
from removal_desk import Desk, weights

from gsu_jax.data import load
from gsu_jax.removal import read_request, verification
from gsu_jax.removal.service import Case, _run, plan, release, run


def nothing(before, forget, retain):
    return before


def retrain(before, forget, retain):
    return desk_models.train(retain, 50)


def restore(before, forget, retain):
    return weights()


@contextlib.contextmanager
def unlearning_by(method):
    """`run` takes the parameters that `method(before, forget, retain)` returns."""

    def unlearn(model, before, forget, retain, **settings):
        return SimpleNamespace(params=method(before, forget, retain), seconds=1.0)

    with mock.patch.object(_run, "unlearn", unlearn):
        yield


class SeriesDesk(Desk):
    """A desk that answers one request after the other: "r-1", "r-2", ..."""

    def request(self, step: int) -> Case:
        """The case of a step, as a new command sees it."""
        return Case(self.home, f"r-{step}", project="faces")

    @property
    def steps(self) -> int:
        return len(list((self.home / "cases").glob("r-*/case.json")))

    def planned(self, **changed: str | None) -> Case:
        """Plans the next request from the current checkpoint."""
        step = self.steps + 1
        base = self.request(1).current.get("checkpoint", str(self.base))
        given = {"request": f'"r-{step}"', "checkpoint": f'"{base}"'} | changed
        plan(read_request(self.write(**given)), self.request(step), modules=self.folder)
        return self.request(step)

    def answer(self, method, **changed: str | None) -> Case:
        """Plans, runs, and releases the next request."""
        case = self.planned(**changed)
        with unlearning_by(method):
            run(case)
        self.release(case.number)
        return Case(self.home, case.number)

    def release(self, number: str) -> None:
        """Releases a request whose verification is pretended."""
        case = Case(self.home, number)
        lines = verification({"V0 lineage": "PASSED"}, configuration="c" * 64)
        key, checkpoint = case.key("verifier"), case.checkpoint
        case.ledger.append("verified", number, key, lines, checkpoint=checkpoint)
        release(Case(self.home, number))

    def copy(self, folder):
        other = super().copy(folder)
        other.__class__ = SeriesDesk
        current = other.home / "current.json"
        if current.is_file():
            text = current.read_text().replace(str(self.folder), str(folder))
            current.write_text(text)
        return other


def digit(name: str) -> dict[str, str]:
    """The keys of a request for a class."""
    return {"what": f'{{ class = "{name}" }}'}


def digits():
    return load("digits").train
