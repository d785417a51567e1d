"""Answers removal requests one after the other, measures all earlier ones after each, and compares
with their union from the original checkpoint: see docs/experiments/removal_series.md.

Needs the extra `removal`. The same command again resumes.
"""

import datetime
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gsu_jax.checks import at_least, between, choice
from gsu_jax.cli import run_command
from gsu_jax.cli._same_settings import same_settings
from gsu_jax.data import Source, load
from gsu_jax.models import GenerativeModel, MLPVAEConfig
from gsu_jax.runtime import stage
from gsu_jax.storage import exists, save

MODELS = {"digits": "digits_vae", "mnist": "mnist_vae"}
LEARNING_RATE = 3e-3
DEPENDS = (
    "dataset",
    "kind",
    "requests",
    "images",
    "method",
    "epochs",
    "learning_rate",
    "train_epochs",
)


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    dataset: str = "digits"
    """digits or mnist."""
    kind: Literal["lists", "classes"] = "lists"
    """Whether each request is a list of images, or a class."""
    requests: int = 10
    """How many, one after the other."""
    images: int = 20
    """In each list."""
    method: str = "auto"
    """Of all requests."""
    epochs: int | None = None
    """Passes over the images that the method visits; by default 100 steps of those to forget, one
    pass over retained ones."""
    learning_rate: float | None = None
    """Of the method; by default its own."""
    train_epochs: int = 60
    """Passes over the data when the original is trained."""
    models: int = 0
    """Retrained ones at each step, as what 0 in the matrix is."""
    samples: int = 1000
    """Of a model, for shares and copies."""
    out: Path | None = None
    """The folder of the cases; by default runs/series-DATASET-KIND. The same command resumes."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


def digits_vae() -> GenerativeModel:
    """The model of the digits, which requests name."""
    return _vae(MLPVAEConfig(image_shape=(8, 8, 1), widths=(64,), latent_size=8))


def mnist_vae() -> GenerativeModel:
    """The model of MNIST, which requests name."""
    return _vae(MLPVAEConfig(widths=(128,), latent_size=8))


def _vae(config: MLPVAEConfig) -> GenerativeModel:
    # --help needs no Flax.
    from gsu_jax.networks import mlp_vae

    return mlp_vae(config)


def run(arguments: Arguments) -> str:
    """Answers the requests, and returns the tables."""
    from gsu_jax.cli._removal_series import series_lines
    from gsu_jax.removal import init_keys
    from gsu_jax.removal.service import Case, plan, release, series, verify_case
    from gsu_jax.removal.service import run as run_case

    choice(MODELS, **{"--dataset": arguments.dataset})
    at_least(2, requests=arguments.requests)
    if arguments.learning_rate is not None:
        between(0, 1, **{"--learning-rate": arguments.learning_rate})
    out = arguments.out or Path("runs") / f"series-{arguments.dataset}-{arguments.kind}"
    started, source = time.perf_counter(), load(arguments.dataset)
    values = _values(source, arguments)
    out.mkdir(parents=True, exist_ok=True)
    given = asdict(arguments)
    same_settings(out, {name: given[name] for name in DEPENDS})
    _train(out / "weights", source, arguments)
    home = out / "removals"
    if not (home / "keys").is_dir():
        init_keys(home / "keys")
    number = ""
    with stage("answer requests", len(values)) as advance:
        for i, value in enumerate(values):
            number = f"{i + 1:02d}"
            case = Case(home, number, project="series")
            advance(0, f"request {number}")
            if case.stage in ("", "received", "identified", "planned"):
                current = case.current.get("checkpoint", out / "weights")
                plan(_request(number, value, Path(current), arguments), case)
                run_case(Case(home, number))
            case = Case(home, number)
            if case.stage == "undone":
                raise ValueError(f"request {number}: {case.last('undone').predicate['reason']}")
            if case.stage == "ran":
                verify_case(case, samples=arguments.samples)
            if not case.released:
                release(Case(home, number), although_failed=True)
            advance(1)
    case = Case(home, number)
    found = series(case, samples=arguments.samples, models=arguments.models, union=True)
    seconds = time.perf_counter() - started
    day = datetime.date.today()
    lines = series_lines(found, number)
    return "\n".join([*lines, f"{seconds:.0f} s, {day}; cases: {home}"])


def _values(source: Source, arguments: Arguments) -> list[Any]:
    """What each request names: classes in order, or lists drawn by lot without overlap."""
    if arguments.kind == "classes":
        names = source.classes[source.label]
        if arguments.requests >= len(names):
            raise ValueError(
                f"--requests must leave a class of {len(names)}, got {arguments.requests}"
            )
        return [[name] for name in names[: arguments.requests]]
    order = np.random.default_rng(0).permutation(len(source.train))
    wanted = arguments.requests * arguments.images
    if not 0 < wanted < len(order):
        raise ValueError(
            f"--requests {arguments.requests} of --images {arguments.images} do not fit "
            f"{len(order):,} training images"
        )
    return [sorted(part.tolist()) for part in np.split(order[:wanted], arguments.requests)]


def _train(path: Path, source: Source, arguments: Arguments) -> None:
    """Trains the original checkpoint, once."""
    from gsu_jax.removal.service import train_model

    if not exists(path):
        model = globals()[MODELS[arguments.dataset]]()
        save(path, train_model(model, source.train.images, _training(arguments), 0))


def _training(arguments: Arguments) -> Any:
    from gsu_jax.removal import Training

    return Training(arguments.train_epochs, LEARNING_RATE)


def _request(number: str, value: list, checkpoint: Path, arguments: Arguments) -> Any:
    from gsu_jax.removal import RemovalRequest

    lists = arguments.kind == "lists"
    return RemovalRequest(
        request=number, claim="rows" if lists else "class", what="ids" if lists else "class",
        value=value, data=arguments.dataset, model=f"{__name__}:{MODELS[arguments.dataset]}",
        checkpoint=checkpoint, method=arguments.method, epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        train=_training(arguments), utility_budget=1.0,
    )  # fmt: skip


def main() -> None:
    """Runs with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
