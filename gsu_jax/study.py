"""The paper's protocol, resumable: pre-train, retrain, train a judge, unlearn, evaluate, report."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.data import ForgetAttribute, ForgetClass, Source, Split, parse_request, split
from gsu_jax.environment import describe_environment
from gsu_jax.methods import METHODS, Method, get_method
from gsu_jax.metrics import Reference, evaluate, make_reference
from gsu_jax.models import AllCNNConfig, allcnn, mlp_vae
from gsu_jax.progress import stage
from gsu_jax.report import save_grid, write_report
from gsu_jax.study_config import StudyConfig
from gsu_jax.trained import Network, Trained, part_key, read_trained, train_missing
from gsu_jax.unlearning import unlearn
from gsu_jax.workspace import Workspace, exclusive

GRID = 100  # samples in a picture

__all__ = ["StudyConfig", "run_study"]


def run_study(
    config: StudyConfig,
    source: Source,
    out: str | Path,
    *,
    methods: Sequence[str | Method],
    seeds: int,
) -> dict:
    """Runs what is missing of a study in the folder `out` and returns its results.

    Every part is a checkpoint: a run that was killed goes on where it stood when started again,
    with the results of one that never stopped; a finished one returns at once. More seeds or
    methods extend it.

    Args:
      config: what the study is.
      source: the images, from `gsu_jax.data.load`.
      out: its folder; made if need be.
      methods: names, or methods with settings of their own; one of each name.
      seeds: how many: 0 to seeds - 1.

    Returns:
      The content of results.json.

    Raises:
      ValueError: a config that cannot be run, or is not that of the study in `out`; a judge below
        its gate; a damaged checkpoint.
      OSError: `out` cannot be written.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, found {seeds}.")
    methods = [get_method(method) for method in methods]
    rows = [method.row for method in methods]
    if not rows or len(set(rows)) < len(rows):
        raise ValueError(
            f"methods must name at least one, each once, found {', '.join(rows) or 'none'}; a "
            "second setting of a method needs a label of its own."
        )
    study = _Study(config, source)
    with exclusive(out):
        study.open(out, methods, seeds)
        study.run()
    return study.workspace.results


class _Study:
    def __init__(self, config: StudyConfig, source: Source) -> None:
        config = replace(config, model=replace(config.model, image_shape=source.image_shape))
        self.config, self.source = config, source
        request = parse_request(config.forget, source)
        if not isinstance(request, ForgetClass | ForgetAttribute):
            raise ValueError(
                f"forget={config.forget!r}: a study judges samples by a class or an attribute; "
                "for listed images call gsu_jax.unlearn."
            )
        attribute = request.name if isinstance(request, ForgetAttribute) else request.attribute
        self.attribute = attribute or source.label
        self.split: Split = split(source.train, request, source)
        self.forgotten = request.mask(source.test, source)
        self.feature = int(self.split.forget.attributes[self.attribute][0])
        self.model = mlp_vae(config.model)
        self.judge = allcnn(
            AllCNNConfig(
                classes=len(source.classes[self.attribute]),
                channels=source.image_shape[-1],
                widths=config.judge_widths,
            )
        )

    def open(self, out: str | Path, methods: Sequence[Method], seeds: int) -> None:
        config = asdict(self.config)
        config.pop("published")
        config |= {
            "data": {
                "fingerprint": self.source.fingerprint,
                "forget": len(self.split.forget),
                "retain": len(self.split.retain),
            },
            "methods": {m.row: {"name": m.name} | asdict(m) for m in methods},
            "seeds": seeds,
        }
        results = {
            "schema": 1,
            "experiment": self.config.experiment,
            "config": config,
            "environment": describe_environment(),
            "reference": {
                "samples": self.config.samples,
                "feature_extractor": self.judge.features,
                "judge_accuracy": None,
            },
            "rows": [],
        }
        for method in methods:
            method.check(self.model)
        self.workspace = Workspace(out, results)
        known = {method.row: method for method in methods}
        self.methods = [
            known.get(row) or _method_from(row, settings)
            for row, settings in self.workspace.results["config"]["methods"].items()
        ]
        self.seeds = range(self.workspace.results["config"]["seeds"])

    def run(self) -> None:
        missing = [
            (method, seed)
            for method in self.methods
            for seed in self.seeds
            if not self.workspace.has_row(method.row, seed)
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
                    advance(0, f"{method.row}, seed {seed}")
                    self.workspace.add_row(self.row(method, seed))
                    advance(1)
        if self.workspace.is_newer_than(report):
            self.write_report(report)

    # Generators and judge

    def train(self, name: str) -> None:
        """Trains the generators "before" or "retrain" of the seeds that have none."""
        images = (self.source.train if name == "before" else self.split.retain).images
        train_missing(self.workspace, self.network(name), images, self.seeds)

    def generator(self, name: str, seed: int) -> Trained:
        if not self.workspace.has_part(f"{name}-{seed}"):
            self.train(name)
        return read_trained(self.workspace, self.network(name), seed)

    def network(self, name: str) -> Network:
        return Network(name, self.model.init, self.model.loss, self.config.pretraining)

    @cached_property
    def judge_params(self) -> Any:
        images = self.source.train.images
        labels = self.source.train.attributes[self.attribute].astype(np.int32)
        network = Network("judge", self.judge.init, self.judge.loss, self.config.judging)
        return train_missing(self.workspace, network, (images, labels), [0])[0].params

    @cached_property
    def reference(self) -> Reference:
        test = self.source.test
        labels = test.attributes[self.attribute].astype(np.int32)
        return make_reference(
            self.judge, self.judge_params, test.images, labels, self.forgotten, self.feature
        )

    def check_judge(self) -> None:
        """Stops a study whose judge could not be believed, before hours are spent on it."""
        accuracy = self.reference.judge_accuracy
        self.workspace.results["reference"]["judge_accuracy"] = accuracy
        self.workspace.save()
        if accuracy < self.config.judge_gate:
            raise ValueError(
                f"the judge reaches {accuracy:.1%} on the test images, below its gate of "
                f"{self.config.judge_gate:.1%}: its fratio would mean nothing. Train it longer "
                "(judging) or widen it (judge_widths), in another --out."
            )

    # Unlearning

    def row(self, method: Method, seed: int) -> dict:
        """One row of the results: unlearn if that is not done yet, draw, evaluate."""
        done = self.result(method, seed)
        row = {"method": method.row, "seed": seed} | evaluate(
            self.model,
            done.params,
            self.judge,
            self.judge_params,
            self.reference,
            part_key("evaluate", seed),
            samples=self.config.samples,
        )
        row |= {
            "steps": done.steps,
            "seconds": done.seconds,
            "compile_seconds": done.compile_seconds,
        }
        self.save_picture(method, seed)
        self.workspace.log("row", **row)
        return row

    def result(self, method: Method, seed: int) -> Trained:
        if method.name in ("before", "retrain"):
            return self.generator(method.name, seed)
        return self.unlearned(method, seed)[0]

    def unlearned(self, method: Method, seed: int) -> tuple[Trained, dict[str, np.ndarray]]:
        """The unlearned model and its history, by steps; made if it is not there."""
        part = f"{method.row}-{seed}"
        if not self.workspace.has_part(part):
            result = unlearn(
                self.model,
                self.generator("before", seed).params,
                self.split.forget.images,
                self.split.retain.images,
                method=method,
                key=part_key(method.name, seed),
                epochs=self.config.epochs,
            )
            history = {name: values.astype(np.float32) for name, values in result.history.items()}
            facts = {
                "seconds": result.seconds,
                "compile_seconds": result.compile_seconds,
                "steps": result.steps,
                "history": list(history),
            }
            tree = {"params": result.params, "history": history}
            self.workspace.save_part(part, tree, facts, method.row)
        facts = self.workspace.part_facts(part, method.row)
        names = facts.pop("history")
        like = {
            "params": jax.eval_shape(self.model.init, jax.random.key(0)),
            "history": {name: np.zeros(facts["steps"], np.float32) for name in names},
        }
        tree = self.workspace.load_part(part, like)
        return Trained(tree["params"], **facts), tree["history"]

    # Report

    def picture(self, method: Method, seed: int) -> Path:
        return self.workspace.folder / "samples" / f"{method.row}-{seed}.png"

    def save_picture(self, method: Method, seed: int) -> None:
        """Draws samples of one model, on the same latents for every model."""
        params = self.result(method, seed).params
        grid = self.model.sample(params, part_key("grid", 0), GRID)
        save_grid(self.picture(method, seed), grid)

    def write_report(self, path: Path) -> None:
        """Draws report.html from the results and what lies in the checkpoints."""
        for method in self.methods:
            if not self.picture(method, 0).exists():
                self.save_picture(method, 0)
        write_report(
            path,
            self.workspace.results,
            grids={method.row: self.picture(method, 0) for method in self.methods},
            histories={
                method.row: [self.unlearned(method, seed)[1] for seed in self.seeds]
                for method in self.methods
                if method.name not in ("before", "retrain")
            },
            published=self.config.published,
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
