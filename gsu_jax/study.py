"""The paper's protocol, resumable: pre-train, retrain, train a judge, unlearn, evaluate, report."""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax import checkpoints
from gsu_jax.data import ForgetAttribute, ForgetClass, Source, Split, parse_request, split
from gsu_jax.environment import describe_environment
from gsu_jax.losses import Loss
from gsu_jax.methods import Method, get_method
from gsu_jax.metrics import Reference, evaluate, judge_predictions, make_reference
from gsu_jax.models import AllCNNConfig, MLPVAEConfig, allcnn, mlp_vae
from gsu_jax.progress import stage
from gsu_jax.report import save_grid, write_report
from gsu_jax.training import Recipe, TrainingState, start_training, train_epoch
from gsu_jax.unlearning import unlearn
from gsu_jax.workspace import Workspace, exclusive

SAVE_EVERY = 20.0  # seconds of training between two checkpoints of its progress
GRID = 100  # samples in a picture


@dataclass(frozen=True)
class StudyConfig:
    """What a study is, apart from how many seeds and which methods it has so far.

    Attributes:
      experiment: its name.
      dataset: as for `gsu_jax.data.load`.
      classes: of the data set's label, to keep; None keeps all.
      forget: what is to be forgotten, as for `--forget`.
      model: the generator.
      judge_widths: of the AllCNN behind fratio, IS and the Frechet distances.
      judge_gate: test accuracy below which the study stops.
      pretraining: of the generator, for `before` and `retrain` alike.
      judging: of the judge.
      epochs: of unlearning.
      samples: drawn from each model.
      published: figures to print beside the study's own: method -> metric -> text.
    """

    experiment: str
    dataset: str
    forget: str
    model: MLPVAEConfig
    classes: tuple[str, ...] | None = None
    judge_widths: tuple[int, int] = (16, 32)
    judge_gate: float = 0.95
    pretraining: Recipe = Recipe()
    judging: Recipe = Recipe(epochs=6, learning_rate=3e-3, one_cycle=True)
    epochs: int = 1
    samples: int = 10_000
    published: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("samples", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}.")


class Trained(NamedTuple):
    """One trained network: its parameters, its share of the time, and its steps."""

    params: Any
    seconds: float
    compile_seconds: float
    steps: int


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
    study = _Study(config, source)
    with exclusive(out):
        study.open(out, methods, seeds)
        study.run()
    return study.workspace.results


class _Study:
    def __init__(self, config: StudyConfig, source: Source) -> None:
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
        self.feature = int(source.test.attributes[self.attribute][self.forgotten][0])
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
            "methods": {method.name: asdict(method) for method in methods},
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
        self.workspace = Workspace(out, _plain(results))
        known = {method.name: method for method in methods}
        self.methods = [
            known.get(name) or type(get_method(name))(**settings)
            for name, settings in self.workspace.results["config"]["methods"].items()
        ]
        self.seeds = range(self.workspace.results["config"]["seeds"])

    def run(self) -> None:
        missing = [
            (method, seed)
            for method in self.methods
            for seed in self.seeds
            if not self.workspace.has_row(method.name, seed)
        ]
        report = self.workspace.folder / "report.html"
        if missing:
            self.workspace.log("start", missing=len(missing), split=self.split.describe())
            self.check_judge()
            self.generators("before", self.source.train.images)
            if any(method.name == "retrain" for method, _ in missing):
                self.generators("retrain", self.split.retain.images)
            with stage("unlearn, evaluate", len(missing)) as advance:
                for method, seed in missing:
                    advance(0, f"{method.name}, seed {seed}")
                    self.workspace.add_row(self.row(method, seed))
                    advance(1)
        if missing or not report.exists():
            self.write_report(report)

    # Training

    def train(
        self, name: str, init: Callable, loss: Loss, data: Any, recipe: Recipe, seeds: Sequence[int]
    ) -> dict[int, Trained]:
        """Networks for `seeds`, all that are missing together; resumes what was begun."""
        like = jax.eval_shape(init, jax.random.key(0))
        paths = {seed: self.workspace.checkpoint(f"{name}-{seed}") for seed in seeds}
        missing = [seed for seed in seeds if not checkpoints.exists(paths[seed])]
        progress = self.workspace.checkpoint(f"{name}-in-training")
        while missing:
            group = missing
            if checkpoints.exists(progress):
                # The seeds that were begun together go on together: the same results as unstopped.
                group = checkpoints.read_metadata(progress)["seeds"]
            state = self.train_group(name, init, loss, data, recipe, group, progress)
            for i, seed in enumerate(group):
                shares = state.seconds / len(group), state.compile_seconds / len(group)
                steps = recipe.steps_per_epoch(len(jax.tree.leaves(data)[0])) * recipe.epochs
                metadata = Trained(None, *shares, steps)._asdict() | {"params": None}
                params = jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
                path = self.workspace.checkpoint(f"{name}-{seed}")
                checkpoints.save(path, params, metadata=metadata)
            checkpoints.remove(progress)
            missing = [seed for seed in missing if seed not in group]
        return {
            seed: Trained(**checkpoints.read_metadata(path) | {"params": checkpoints.load(path, like)})
            for seed, path in paths.items()
        }

    def train_group(
        self,
        name: str,
        init: Callable,
        loss: Loss,
        data: Any,
        recipe: Recipe,
        seeds: Sequence[int],
        progress: Path,
    ) -> TrainingState:
        keys = jnp.stack([_key(name, seed) for seed in seeds])
        if checkpoints.exists(progress):
            like = jax.eval_shape(lambda: start_training(init, recipe, keys)[:2])
            saved = checkpoints.read_metadata(progress)
            counts = saved["epoch"], saved["seconds"], saved["compile_seconds"]
            state = TrainingState(*checkpoints.load(progress, like), *counts)
        else:
            state = start_training(init, recipe, keys)
        data = jax.tree.map(jnp.asarray, data)
        saved_at = time.monotonic()
        with stage(f"train {name}", recipe.epochs) as advance:
            advance(state.epoch, f"seeds {', '.join(map(str, seeds))}")
            while state.epoch < recipe.epochs:
                state, losses = train_epoch(loss, recipe, state, data, keys)
                self.workspace.log(
                    "epoch", name=name, epoch=state.epoch, loss=losses.tolist(), seeds=list(seeds)
                )
                advance(1, f"loss {float(losses.mean()):.4g}")
                if time.monotonic() - saved_at > SAVE_EVERY:
                    counts = dict(zip(TrainingState._fields[2:], state[2:], strict=True))
                    metadata = counts | {"seeds": list(seeds)}
                    checkpoints.save(progress, state[:2], metadata=metadata)
                    saved_at = time.monotonic()
        return state

    def generators(self, name: str, images: np.ndarray) -> dict[int, Trained]:
        """The generator trained on `images`, for every seed."""
        recipe = self.config.pretraining
        return self.train(name, self.model.init, self.model.loss, images, recipe, self.seeds)

    def generator(self, name: str, seed: int) -> Trained:
        path = self.workspace.checkpoint(f"{name}-{seed}")
        like = jax.eval_shape(self.model.init, jax.random.key(0))
        return Trained(**checkpoints.read_metadata(path) | {"params": checkpoints.load(path, like)})

    # Judging

    @cached_property
    def judge_params(self) -> Any:
        images = self.source.train.images
        labels = self.source.train.attributes[self.attribute].astype(np.int32)
        recipe = self.config.judging
        trained = self.train(
            "judge", self.judge.init, self.judge.loss, (images, labels), recipe, [0]
        )
        return trained[0].params

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
        done = self.unlearned(method, seed)
        row = {"method": method.name, "seed": seed} | evaluate(
            self.model,
            done.params,
            self.judge,
            self.judge_params,
            self.reference,
            _key("evaluate", seed),
            samples=self.config.samples,
        )
        grid = self.model.sample(done.params, _key("grid", 0), GRID)
        save_grid(self.workspace.folder / "samples" / f"{method.name}-{seed}.png", grid)
        row |= {
            "steps": done.steps,
            "seconds": done.seconds,
            "compile_seconds": done.compile_seconds,
        }
        self.workspace.log("row", **_plain(row))
        return row

    def unlearned(self, method: Method, seed: int) -> Trained:
        if method.name in ("before", "retrain"):
            return self.generator(method.name, seed)
        path = self.workspace.checkpoint(f"{method.name}-{seed}")
        if not checkpoints.exists(path):
            result = unlearn(
                self.model,
                self.generator("before", seed).params,
                self.split.forget.images,
                self.split.retain.images,
                method=method,
                key=_key(method.name, seed),
                epochs=self.config.epochs,
            )
            trained = Trained(None, result.seconds, result.compile_seconds, result.steps)
            history = {name: values.astype(np.float32) for name, values in result.history.items()}
            metadata = trained._asdict() | {"history": list(history)}
            tree = {"params": result.params, "history": history}
            checkpoints.save(path, tree, metadata=metadata)
        params, metadata, _ = self.read_unlearned(path)
        return Trained(**metadata | {"params": params})

    def read_unlearned(self, path: Path) -> tuple[Any, dict, dict[str, np.ndarray]]:
        metadata = checkpoints.read_metadata(path)
        steps, names = metadata["steps"], metadata.pop("history")
        like = {
            "params": jax.eval_shape(self.model.init, jax.random.key(0)),
            "history": {name: np.zeros(steps, np.float32) for name in names},
        }
        tree = checkpoints.load(path, like)
        return tree["params"], metadata, tree["history"]

    def write_report(self, path: Path) -> None:
        """Draws report.html from the results and what lies in the checkpoints."""
        histories = {}
        for method in self.methods:
            folders = [self.workspace.checkpoint(f"{method.name}-{s}") for s in self.seeds]
            if method.name not in ("before", "retrain"):
                histories[method.name] = [self.read_unlearned(folder)[2] for folder in folders]
        samples = self.workspace.folder / "samples"
        write_report(
            path,
            self.workspace.results,
            grids={method.name: samples / f"{method.name}-0.png" for method in self.methods},
            histories=histories,
            published=self.config.published,
        )


def _key(name: str, seed: int) -> jax.Array:
    """The random key of one part of the study: the same whatever else is run."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()) % 2**31)


def _plain(value: Any) -> Any:
    """As it comes back from JSON: tuples are lists, so that configs can be compared."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
