"""The requests of a folder, each answered by several methods and verified."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gsu_jax.cli.experiments._high_rate import HIGH, RATE
from gsu_jax.cli.experiments._verdict_tables import Column
from gsu_jax.data import Source
from gsu_jax.models import GenerativeModel
from gsu_jax.runtime import stage
from gsu_jax.storage import exists, save

if TYPE_CHECKING:  # --help needs no service
    from gsu_jax.removal import RemovalRequest, Training
    from gsu_jax.removal.service import SharedModels

IMAGES = "images.npz"


class Asked(NamedTuple):
    """A request that every method answers.

    Attributes:
        title: In words.
        key: In the names of folders.
        claim: "class" or "rows".
        what: "class" or "ids".
        value: The class, or positions of training images.
        tier: Of the verification.
    """

    title: str
    key: str
    claim: str
    what: str
    value: list[Any]
    tier: int


@dataclass(frozen=True)
class Desk:
    """Answers requests to one model.

    Attributes:
        out: The folder of cases, models, and images that are no data set by themselves.
        source: The images.
        data: The name of the data set, or "" if the images are written to `out`.
        model: The model.
        model_name: `MODULE:FUNCTION` of the model.
        training: Of the checkpoint, and of all others.
        utility_budget: As in a request.
        ensemble, samples, shadows: As `verify_case` takes them.
    """

    out: Path
    source: Source
    data: str
    model: GenerativeModel
    model_name: str
    training: "Training"
    utility_budget: float
    ensemble: int
    samples: int
    shadows: int

    def prepare(self) -> None:
        """Makes the keys, the images and the deployed checkpoint, each once."""
        from gsu_jax.removal import init_keys
        from gsu_jax.removal.service import train_model

        if not (self.out / "removals" / "keys").is_dir():
            init_keys(self.out / "removals" / "keys")
        if not self.data and not (self.out / IMAGES).is_file():
            _write_images(self.out / IMAGES, self.source)
        if not exists(self.out / "weights"):
            with stage("train the model", 1) as advance:
                images = self.source.train.images
                save(self.out / "weights", train_model(self.model, images, self.training, 0))
                advance(1)

    def columns(self, asked: Asked, methods: tuple[str, ...]) -> dict[str, Column]:
        """What each method gets for a request."""
        from gsu_jax.removal.service import SharedModels

        models = self.out / "models"
        shared = SharedModels(models / f"{asked.what}-{asked.key}", models / "originals")
        found = {}
        with stage(f"forget {asked.title}", len(methods)) as advance:
            for method in methods:
                advance(0, method)
                found[method] = self._column(asked, method, shared)
                advance(1)
        return found

    def _column(self, asked: Asked, method: str, shared: "SharedModels") -> Column:
        from gsu_jax.removal.service import Case, plan, run, verify_case

        home, number = self.out / "removals", f"{asked.key}-{method}"
        case = Case(home, number, project="verdicts")
        if case.stage in ("", "received", "identified", "planned"):
            plan(self._request(asked, number, method), case)
            run(Case(home, number))
        case = Case(home, number)
        if case.stage == "undone":
            return Column({}, "", case.last("undone").predicate["reason"])
        if case.stage == "ran":
            verify_case(
                case, tier=asked.tier, models=self.ensemble, samples=self.samples,
                shadows=self.shadows, shared=shared,
            )  # fmt: skip
        record = json.loads((case.folder / "verification.json").read_text("utf-8"))
        shadows = record["settings"].get("shadows", self.shadows)
        if shadows != self.shadows:
            raise ValueError(
                f"--out has {shadows} shadow models of {asked.title}, got --shadows "
                f"{self.shadows}; give that number, or another folder"
            )
        decides = f", by {record['decides']}" * (record["verdict"] != "PASSED")
        return Column(record, f"{record['verdict']}{decides}", "")

    def _request(self, asked: Asked, number: str, method: str) -> "RemovalRequest":
        from gsu_jax.removal import RemovalRequest

        epochs = rate = None
        if method == "retrain":
            epochs = self.training.epochs
        elif method == HIGH:
            method, rate = "fine_tune", RATE * self.training.learning_rate
            epochs = max(1, self.training.epochs // 3)
        return RemovalRequest(
            request=number, claim=asked.claim, what=asked.what, value=asked.value,
            data=self.data or str(self.out / IMAGES), model=self.model_name,
            checkpoint=self.out / "weights", method=method, epochs=epochs, learning_rate=rate,
            train=self.training, utility_budget=self.utility_budget, stop_at_budget=True,
        )  # fmt: skip


def _write_images(path: Path, source: Source) -> None:
    """Writes the kept classes, for requests to name."""
    names = np.array(source.classes[source.label])
    parts = {"": source.train, "test_": source.test}
    arrays = {f"{prefix}images": part.images for prefix, part in parts.items()}
    labels = {
        f"{prefix}labels": names[part.attributes[source.label]] for prefix, part in parts.items()
    }
    unfinished = path.with_name(f"unfinished-{path.name}")
    np.savez(unfinished, **arrays, **labels)
    unfinished.replace(path)
