"""A series of requests on one desk: each step's "unlearning" is a function of the test.

The model is linear, so its evidence has a closed form, and nothing is compiled.
"""

import contextlib
from types import SimpleNamespace
from unittest import mock

import desk_models
import numpy as np
from removal_desk import Desk, weights

from gsu_jax.data import load
from gsu_jax.removal import read_request, verification
from gsu_jax.removal.service import Case, Quote, _gauge, _measures, _plan, _stop, plan, release, run


def nothing(before, forget, retain):
    return before


def retrain(before, forget, retain):
    return desk_models.train(retain, 50)


def retrain_anew(before, forget, retain):
    return desk_models.train(retain, 51)


def restore(before, forget, retain):
    return weights()


def worsen(before, forget, retain):
    """The plane of the decoder moves away, for all images."""
    noise = np.random.default_rng(len(retain)).normal(size=before["decoder"].shape)
    return before | {"decoder": before["decoder"] + np.float32(0.2 * noise)}


def residual(model, params, images):
    """Minus the squared distance of each image from the plane of the decoder."""
    axes = np.asarray(params["decoder"]) / 4
    flat = np.float64(images).reshape(len(images), -1)
    return -np.square(flat - flat @ axes.T @ axes).sum(1)


@contextlib.contextmanager
def closed_form():
    """Evidence, bound and quote of a plan without a compiler."""
    with (
        mock.patch.object(_gauge, "evidence", residual),
        mock.patch.object(_measures, "bound", lambda *given: -residual(*given)),
        mock.patch.object(_plan, "quote_run", return_value=Quote(1.0, 0.0, 2)),
        mock.patch.object(_plan, "conflict", return_value=(0.5, 0.0)),
    ):
        yield


@contextlib.contextmanager
def unlearning_by(method):
    """`run` takes the parameters that `method(before, forget, retain)` returns."""

    def unlearn(model, before, forget, retain, **settings):
        return SimpleNamespace(params=method(before, forget, retain), seconds=1.0, stopped=False)

    with mock.patch.object(_stop, "unlearn", unlearn):
        yield


class SeriesDesk(Desk):
    """A desk that answers one request after the other: "r-1", "r-2", ..."""

    def request(self, step: int) -> Case:
        """The case of a step, as a new command sees it."""
        return Case(self.home, f"r-{step}", project="faces")

    @property
    def steps(self) -> int:
        return len(list((self.home / "cases").glob("r-*/case.json")))

    def planned(self, step: int = 0, **changed: str | None) -> Case:
        """Plans the next request from the current checkpoint, or that of a step again."""
        step = step or self.steps + 1
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


def digit(name: str, claim: str = "rows") -> dict[str, str]:
    """The keys of a request for the images of a class; no judge is needed for the claim "rows"."""
    return {"what": f'{{ class = "{name}" }}', "claim": f'"{claim}"'}


def labels(images: np.ndarray) -> list[int]:
    """The classes of training images."""
    train = load("digits").train
    pairs = zip(train.images, train.attributes["label"], strict=True)
    known = {image.tobytes(): int(k) for image, k in pairs}
    return sorted({known[image.tobytes()] for image in images})
