"""`Study`: a study in its folder, and how it is opened."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from gsu_jax.methods import Method, check_method
from gsu_jax.runtime import describe_environment
from gsu_jax.storage import Artifacts
from gsu_jax.study._given import digest
from gsu_jax.study._logger import Logger
from gsu_jax.study._method_records import method_from, method_record, upgrade_made_with
from gsu_jax.study._own_metrics import Metric
from gsu_jax.study._results_file import ResultsFile
from gsu_jax.study._setup import Setup


class Study(NamedTuple):
    """A study in its folder.

    Attributes:
        setup: the images, the request and the networks.
        store: the trained and unlearned models, and the log.
        results: the rows so far.
        methods: of this run and of earlier ones in the folder.
        seeds: of each method.
        ensemble: seeds of the retrained models, at least `seeds`.
        mesh: devices to share each batch over; or None.
        before: given parameters of the baseline, by seed; or None.
        metrics: of the user's own, by name.
        loggers: that get each row, and the history of its steps.
    """

    setup: Setup
    store: Artifacts
    results: ResultsFile
    methods: Sequence[Method]
    seeds: range
    ensemble: range
    mesh: jax.sharding.Mesh | None
    before: Mapping[int, Any] | None = None
    metrics: Mapping[str, Metric] = MappingProxyType({})
    loggers: Sequence[Logger] = ()

    def seeds_of(self, role: str) -> range:
        """Returns the seeds of the methods with a role."""
        return self.ensemble if role == "yardstick" else self.seeds

    def missing(self) -> list[tuple[Method, int]]:
        """Returns the method and seed of each row that is not finished."""
        return [
            (method, seed)
            for method in self.methods
            for seed in self.seeds_of(method.role)
            if not self.results.has_row(method.title, seed)
        ]

    def unmeasured(self) -> list[tuple[Method, int, dict[str, Metric]]]:
        """Returns the method and seed of each row that lacks metrics, and those metrics."""
        by_label = {method.title: method for method in self.methods}
        lacking = [
            (row, {name: f for name, f in self.metrics.items() if name not in row})
            for row in self.results.content["rows"]
        ]
        return [(by_label[row["method"]], row["seed"], own) for row, own in lacking if own]


def open_study(
    setup: Setup,
    folder: Path,
    methods: Sequence[Method],
    seeds: int,
    models_from: str | Path | None = None,
    mesh: jax.sharding.Mesh | None = None,
    before: Mapping[int, Any] | None = None,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    loggers: Sequence[Logger] = (),
) -> Study:
    """Joins a study with what earlier runs left in its folder.

    Raises:
        ValueError: the folder holds another study, or a method of this release does not fit.
    """
    for method in methods:
        check_method(method, setup.model)
    content: dict[str, Any] = {
        "schema": 1,
        "experiment": setup.config.experiment,
        "config": setup.config.record()
        | {
            "data": {
                "fingerprint": setup.source.fingerprint,
                "forget": len(setup.split.forget),
                "retain": len(setup.split.retain),
            }
            | _which_images(setup),
            "methods": {method.title: method_record(method) for method in methods},
            "seeds": seeds,
        },
        "environment": describe_environment() | {"mesh": mesh and dict(mesh.shape)},
        "reference": {
            "samples": setup.config.samples,
            "feature_extractor": setup.judge.features,
            "judge_accuracy": None,
        },
        "rows": [],
    }
    if metrics:
        content["metrics"] = [*metrics]
    if before is not None:
        content["config"]["before"] = {seed: digest(params) for seed, params in before.items()}
    results = ResultsFile(folder, content)
    config, given = results.content["config"], {method.title: method for method in methods}
    methods = [given.get(row) or method_from(row, m) for row, m in config["methods"].items()]
    results.content["roles"] = {method.title: method.role for method in methods}
    return Study(
        setup=setup,
        store=Artifacts(folder, models_from, upgrade_made_with),
        results=results,
        methods=methods,
        seeds=range(config["seeds"]),
        ensemble=range(max(config["seeds"], config["ensemble"])),
        mesh=mesh,
        before=before,
        metrics=metrics,
        loggers=loggers,
    )


def _which_images(setup: Setup) -> dict[str, str]:
    """Returns a digest of the listed images: a list in a file may change under its name."""
    if setup.listed is None:
        return {}
    return {"listed": hashlib.sha256(setup.split.mask.tobytes()).hexdigest()[:16]}
