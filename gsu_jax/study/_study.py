"""The paper's protocol, resumable: pre-train, retrain, train a judge, unlearn, evaluate, report."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.data import ForgetAttribute, ForgetClass, Source, parse_request
from gsu_jax.methods import METHODS, Method, get_method
from gsu_jax.metrics import Reference, evaluate, make_reference
from gsu_jax.networks import classifier, generator
from gsu_jax.report import save_grid, write_report
from gsu_jax.runtime import (
    broadcast_from_first,
    check_batch,
    check_processes,
    describe_environment,
    stage,
)
from gsu_jax.storage import exclusive
from gsu_jax.study._checkpointed_runs import (
    Network,
    Trained,
    Unlearned,
    part_key,
    read_trained,
    train_missing,
    unlearn_missing,
)
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._workspace import Workspace, check_lender
from gsu_jax.unlearning import UnlearningResult, unlearn

GRID = 100  # samples in a picture


def run_study(
    config: StudyConfig,
    source: Source,
    out: str | Path,
    *,
    methods: Sequence[str | Method],
    seeds: int,
    models_from: str | Path | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> dict:
    """Runs what is missing of a study in the folder `out` and returns its results.

    Every part is a checkpoint: a run that was killed goes on where it stood when started again,
    with the results of one that never stopped; a finished one returns at once. More seeds or
    methods, or a larger ensemble of retrained models, extend it.

    Args:
      config: what the study is.
      source: the images, from `gsu_jax.data.load`.
      out: its folder; made if need be.
      methods: names, or methods with settings of their own; one of each name.
      seeds: how many: 0 to seeds - 1; `retrain` has at least `config.ensemble` of them.
      models_from: the folder of another study. Generators and the judge that are missing in `out`
        are copied from there, with their times, where they were made with the same.
      mesh: devices to share each batch of training and unlearning over, along the mesh's first
        axis; samples are drawn and judged on one. It is no part of the study, which may go on with
        others: figures agree to rounding, and times are those of the devices that took them.

    Returns:
      The content of results.json.

    Raises:
      ValueError: a config that cannot be run, or is not that of the study in `out`; a batch that
        does not divide over the mesh; a judge below its gate; a damaged checkpoint; nothing in
        `models_from`.
      OSError: `out` cannot be written.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, found {seeds}.")
    methods = [get_method(method) for method in methods]
    rows = [method.title for method in methods]
    if not rows or len(set(rows)) < len(rows):
        raise ValueError(
            f"methods must name at least one, each once, found {', '.join(rows) or 'none'}; a "
            "second setting of a method needs a label of its own."
        )
    if models_from is not None:
        check_lender(models_from)
    study = Study(config, source, mesh)
    study.check_batches(methods)
    with exclusive(out):
        study.open(out, methods, seeds, models_from)
        study.run()
    return study.workspace.results


class Study:
    """A study in its folder, part by part: `run_study` opens one and runs it."""

    def __init__(
        self, config: StudyConfig, source: Source, mesh: jax.sharding.Mesh | None = None
    ) -> None:
        check_processes(mesh)
        self.mesh = mesh
        self.source, request = source, parse_request(config.forget, source)
        if not isinstance(request, ForgetClass | ForgetAttribute):
            raise ValueError(
                f"forget={config.forget!r}: a study judges samples by a class or an attribute; "
                "for listed images call gsu_jax.unlearn."
            )
        attribute = request.name if isinstance(request, ForgetAttribute) else request.attribute
        self.attribute = attribute or source.label
        self.split, test = request.split(source)
        self.forgotten = test.mask
        self.feature = int(self.split.forget.attributes[self.attribute][0])
        classes, channels = len(source.classes[self.attribute]), source.image_shape[-1]
        self.config = config = replace(
            config,
            model=replace(config.model, image_shape=source.image_shape),
            judge=replace(config.judge, classes=classes, channels=channels),
        )
        self.model, self.judge = generator(config.model), classifier(config.judge)

    def check_batches(self, methods: Sequence[Method]) -> None:
        """Refuses what does not divide over the mesh, before hours are spent on the rest."""
        images = len(self.source.train)
        for name in ("judging", "pretraining"):
            check_batch(min(getattr(self.config, name).batch_size, images), self.mesh, name)
        for method in methods:
            if method.visits != "nothing":
                check_batch(method.batch_size, self.mesh, method.title)
                check_batch(method.retain_batch_size or method.batch_size, self.mesh, method.title)

    def open(
        self, out: str | Path, methods: Sequence[Method], seeds: int, lender: str | Path | None
    ) -> None:
        """Takes the folder `out`, with the results that are there; arguments as in `run_study`."""
        config = self.config.record() | {
            "data": {
                "fingerprint": self.source.fingerprint,
                "forget": len(self.split.forget),
                "retain": len(self.split.retain),
            },
            "methods": {m.title: {"name": m.name} | asdict(m) for m in methods},
            "seeds": seeds,
        }
        mesh = None if self.mesh is None else dict(self.mesh.shape)
        results = {
            "schema": 1,
            "experiment": self.config.experiment,
            "config": config,
            "environment": describe_environment() | {"mesh": mesh},
            "reference": {
                "samples": self.config.samples,
                "feature_extractor": self.judge.features,
                "judge_accuracy": None,
            },
            "rows": [],
        }
        for method in methods:
            method.check(self.model)
        self.workspace = Workspace(out, results, lender)
        config = self.workspace.results["config"]
        known = {method.title: method for method in methods}
        self.methods = [
            known.get(row) or _method_from(row, settings)
            for row, settings in config["methods"].items()
        ]
        self.seeds = range(config["seeds"])
        self.ensemble = range(max(config["seeds"], config["ensemble"]))

    def seeds_of(self, name: str) -> range:
        """The seeds of a method's rows, or of the generators "before" and "retrain"."""
        return self.ensemble if name == "retrain" else self.seeds

    def made_with(self, *names: str, method: str | None = None) -> dict[str, Any]:
        """What a part depends on: the data, these settings and those of a method, as JSON."""
        config = self.workspace.results["config"]
        made_with = {"data": config["data"]["fingerprint"]} | {n: config[n] for n in names}
        return made_with | ({"method": config["methods"][method]} if method else {})

    def run(self) -> None:
        """Makes every row that is missing, and the report."""
        missing = [
            (method, seed)
            for method in self.methods
            for seed in self.seeds_of(method.name)
            if not self.workspace.has_row(method.title, seed)
        ]
        report = self.workspace.folder / "report.html"
        if missing:
            self.workspace.log("start", missing=len(missing), split=self.split.describe())
            self.check_judge()
            self.train("before")
            if any(method.name == "retrain" for method, _ in missing):
                self.train("retrain")
            with stage("unlearn, evaluate", len(missing)) as advance:
                for method, seed in missing:
                    advance(0, f"{method.title}, seed {seed}")
                    self.workspace.add_row(self.row(method, seed))
                    advance(1)
        if self.workspace.is_newer_than(report):
            self.write_report(report)

    # Generators and judge

    def train(self, name: str) -> None:
        """Trains the generators "before" or "retrain" of the seeds that have none."""
        images = (self.source.train if name == "before" else self.split.retain).images
        network, seeds = self.network(name), self.seeds_of(name)
        train_missing(self.workspace, network, images, seeds, self.mesh)

    def generator(self, name: str, seed: int) -> Trained:
        """The generator "before" or "retrain" of a seed; trained if it is not there."""
        if not self.workspace.has_part(f"{name}-{seed}"):
            self.train(name)
        return read_trained(self.workspace, self.network(name), seed)

    def network(self, name: str) -> Network:
        """What the generators "before" or "retrain" are, and all that they depend on."""
        request = ("forget",) if name == "retrain" else ()
        made_with = self.made_with("model", "pretraining", *request)
        return Network(name, self.model.init, self.model.loss, self.config.pretraining, made_with)

    @cached_property
    def judge_params(self) -> Any:
        """The judge's parameters; trained where they are not there."""
        images = self.source.train.images
        labels = self.source.train.attributes[self.attribute].astype(np.int32)
        made_with = self.made_with("judge", "judging") | {"attribute": self.attribute}
        network = Network("judge", self.judge.init, self.judge.loss, self.config.judging, made_with)
        return train_missing(self.workspace, network, (images, labels), [0], self.mesh)[0].params

    @cached_property
    def reference(self) -> Reference:
        """The test images as the judge sees them."""
        test = self.source.test
        labels = test.attributes[self.attribute].astype(np.int32)
        return make_reference(
            self.judge, self.judge_params, test.images, labels, self.forgotten, self.feature
        )

    def of_the_judge(self, function: Callable[[], Any]) -> Any:
        """What `function()` finds with the judge, which all processes train and one asks."""
        _ = self.judge_params
        return broadcast_from_first(function)

    def check_judge(self) -> None:
        """Stops a study whose judge could not be believed, before hours are spent on it."""
        accuracy = self.of_the_judge(lambda: self.reference.judge_accuracy)
        self.workspace.results["reference"]["judge_accuracy"] = accuracy
        self.workspace.save()
        if accuracy < self.config.judge_gate:
            raise ValueError(
                f"the judge reaches {accuracy:.1%} on the test images, below its gate of "
                f"{self.config.judge_gate:.1%}: its fratio would mean nothing. Train it longer "
                "(judging) or take a larger one (judge), in another --out."
            )

    # Unlearning

    def row(self, method: Method, seed: int) -> dict:
        """One row of the results: unlearn if that is not done yet, draw, evaluate."""
        done = self.result(method, seed)
        row = {"method": method.title, "seed": seed} | self.of_the_judge(
            lambda: evaluate(
                self.model,
                done.params,
                self.judge,
                self.judge_params,
                self.reference,
                part_key("evaluate", seed),
                samples=self.config.samples,
            )
        )
        row |= {name: getattr(done, name) for name in ("steps", "seconds", "compile_seconds")}
        self.save_picture(method, seed)
        self.workspace.log("row", **row)
        return row

    def result(self, method: Method, seed: int) -> Trained:
        """The model that a row is about."""
        if method.name in ("before", "retrain"):
            return self.generator(method.name, seed)
        return self.unlearned(method, seed).trained

    def unlearned(self, method: Method, seed: int) -> Unlearned:
        """The unlearned model and its history; made if it is not there."""
        return unlearn_missing(
            self.workspace,
            f"{method.title}-{seed}",
            lambda: self.unlearn(method, seed),
            self.network("before").params_like,
            self.made_with("model", "pretraining", "forget", "epochs", method=method.title),
        )

    def unlearn(self, method: Method, seed: int) -> UnlearningResult:
        """The run of one method from one generator."""
        return unlearn(
            self.model,
            self.generator("before", seed).params,
            self.split.forget.images,
            self.split.retain.images,
            method=method,
            key=part_key(method.name, seed),
            epochs=self.config.epochs,
            mesh=self.mesh,
        )

    # Report

    def picture(self, method: Method, seed: int) -> Path:
        """Where the samples of a row are drawn."""
        return self.workspace.folder / "samples" / f"{method.title}-{seed}.png"

    def save_picture(self, method: Method, seed: int) -> None:
        """Draws samples of one model, on the same latents for every model."""
        params = self.result(method, seed).params

        def draw() -> None:
            grid = self.model.sample(params, part_key("grid", 0), GRID)
            save_grid(self.picture(method, seed), grid)

        broadcast_from_first(draw)

    def write_report(self, path: Path) -> None:
        """Draws report.html from the results and what lies in the checkpoints."""
        for method in self.methods:
            if not broadcast_from_first(self.picture(method, 0).exists):
                self.save_picture(method, 0)
        histories = {
            method.title: [self.unlearned(method, seed).history for seed in self.seeds]
            for method in self.methods
            if method.name not in ("before", "retrain")
        }
        broadcast_from_first(
            lambda: write_report(
                path,
                self.workspace.results,
                grids={method.title: self.picture(method, 0) for method in self.methods},
                histories=histories,
                published=self.config.published,
            )
        )


def _method_from(row: str, settings: dict) -> Method:
    """A method of an earlier run from its config, where this run does not name it."""
    settings = dict(settings)
    try:
        return METHODS[settings.pop("name")](**settings)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the study has rows {row!r}, whose method or settings this gsu_jax does not know "
            f"({error}): go on with the release that made them, or give another --out."
        ) from error
