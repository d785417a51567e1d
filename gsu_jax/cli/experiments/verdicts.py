"""Answers a removal request by each of several methods, and verifies each: the verdict of every
line, and whether the audit may be believed. See docs/experiments/verdicts.md.

Needs the extra `removal`. The same command again resumes.
"""

import datetime
import functools
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsu_jax.checks import above, at_least, unknown
from gsu_jax.cli import run_command
from gsu_jax.cli._experiment import load_images
from gsu_jax.cli._same_settings import same_settings
from gsu_jax.cli.experiments._high_rate import HIGH
from gsu_jax.cli.experiments._verdict_desk import Asked, Desk
from gsu_jax.cli.experiments._verdict_tables import Column, tables
from gsu_jax.data import Source
from gsu_jax.methods import METHODS
from gsu_jax.models import GenerativeModel, MLPVAEConfig
from gsu_jax.runtime import announce, describe_environment
from gsu_jax.storage import exclusive, write_whole

DEPENDS = ("dataset", "train_epochs", "utility_budget", "samples", "ensemble")


class Setting(NamedTuple):
    """The images and the training of a data set.

    Attributes:
        source: What `gsu_jax.data.load` takes.
        classes: Those that are kept; none for all.
        model: The function of this module that makes the model.
        epochs: Of training.
        forget: The classes that are forgotten, each by a request of its own.
    """

    source: str
    classes: tuple[str, ...]
    model: str
    epochs: int
    forget: tuple[str, ...]


SETTINGS = {
    "digits": Setting("digits", (), "digits_vae", 100, ("1", "8")),
    "mnist138": Setting("mnist", ("1", "3", "8"), "mnist_vae", 60, ("1",)),
    "mnist": Setting("mnist", (), "mnist_vae", 12, ("1", "8")),
    "fashion": Setting("fashion_mnist", (), "mnist_vae", 40, ("Sandal", "Trouser")),
}


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    dataset: str = "digits"
    """digits, mnist138 (1, 3 and 8 alone), mnist or fashion; TFDS data sets are in
    $TFDS_DATA_DIR."""
    forget: tuple[str, ...] = ()
    """Classes, each a request of its own; by default one or two of the data set."""
    images: int = 0
    """Instead of classes, a list of so many random training images, which shadow models attack
    (tier 2)."""
    shadows: int = 64
    """Shadow models of a list, an even number."""
    methods: tuple[str, ...] = ("redirect_flow", "gradient_surgery", "fine_tune", "retrain")
    """Methods by name; retrain is the one that should pass. fine_tune-high is fine_tune at three
    times the learning rate of the training, for a third of its epochs."""
    ensemble: int = 10
    """Models of each kind: retrained, original, fine-tuned, and unlearned by each method."""
    train_epochs: int | None = None
    """Passes over the data when a model is trained; by default those of the data set."""
    samples: int = 10_000
    """Of a model, for shares and copies."""
    utility_budget: float = 0.05
    """By which share the bound of held-out retained images may get worse; a run ends at the last of
    ten checks within it, and is rolled back if none is."""
    out: Path | None = None
    """Where cases, models and tables go; by default runs/verdicts-DATASET. The same command
    resumes."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


@functools.cache  # one object, so that its programs are compiled once
def digits_vae() -> GenerativeModel:
    """The model of the digits, which requests name."""
    return _vae(MLPVAEConfig(image_shape=(8, 8, 1), widths=(64,), latent_size=8))


@functools.cache
def mnist_vae() -> GenerativeModel:
    """The model of 28x28 images, which requests name."""
    return _vae(MLPVAEConfig())


def _vae(config: MLPVAEConfig) -> GenerativeModel:
    # --help needs no Flax.
    from gsu_jax.networks import mlp_vae

    return mlp_vae(config)


def run(arguments: Arguments) -> str:
    """Runs what is missing, and returns the tables."""
    setting = _checked(arguments)
    epochs = arguments.train_epochs or setting.epochs
    options = {"classes": setting.classes or None}
    source = load_images("--dataset", setting.source, options)
    requests = _requests(arguments, setting, source)
    out = arguments.out or Path("runs") / f"verdicts-{arguments.dataset}"
    announce(f"progress: {out}")
    started = time.perf_counter()
    with exclusive(out):
        own = asdict(arguments)
        same_settings(out, {name: own[name] for name in DEPENDS} | {"train_epochs": epochs})
        desk = _desk(out, arguments, setting, source, epochs)
        desk.prepare()
        columns = {asked.title: desk.columns(asked, arguments.methods) for asked in requests}
        text = _text(columns, arguments, time.perf_counter() - started)
        name = f"verdicts-{arguments.images}-images.md" if arguments.images else "verdicts.md"
        write_whole(out / name, text + "\n")
    return f"{text}\n\ntables: {out / name}"


def _requests(arguments: Arguments, setting: Setting, source: Source) -> list[Asked]:
    """One for each class, or that of the list."""
    count, most = arguments.images, len(source.train.images)
    if count >= most:
        raise ValueError(f"--images must be below {most}, the training images, got {count}")
    if count:
        chosen = np.sort(np.random.default_rng(0).permutation(most)[:count]).tolist()
        return [Asked(f"{count} images", f"{count}-images", "rows", "ids", chosen, 2)]
    known = source.classes[source.label]
    for name in arguments.forget:
        if name not in known:
            raise unknown("--forget", f"class of {arguments.dataset}", name, known)
    return [
        Asked(name, str(known.index(name)), "class", "class", [name], 1)
        for name in arguments.forget or setting.forget
    ]


def _desk(out: Path, arguments: Arguments, setting: Setting, source: Source, epochs: int) -> Desk:
    """The desk of a folder; models train as the method retrain does, with its defaults."""
    from gsu_jax.removal import Training

    return Desk(
        out, source, "" if setting.classes else setting.source, globals()[setting.model](),
        f"{__name__}:{setting.model}", Training(epochs, METHODS["retrain"]().learning_rate),
        arguments.utility_budget, arguments.ensemble, arguments.samples, arguments.shadows,
    )  # fmt: skip


def _checked(arguments: Arguments) -> Setting:
    if arguments.dataset not in SETTINGS:
        raise unknown("--dataset", "data set", arguments.dataset, SETTINGS)
    known = [*(name for name in METHODS if name != "before"), HIGH]
    for name in arguments.methods:
        if name not in known:
            raise unknown("--methods", "method", name, known)
    for option in ("forget", "methods"):
        given = getattr(arguments, option)
        if len(set(given)) < len(given) or (option == "methods" and not given):
            raise ValueError(f"--{option} must name each once, got {' '.join(given) or 'none'}")
    if arguments.forget and arguments.images:
        raise ValueError("--forget and --images are two requests: give one of them")
    at_least(0, **{"--images": arguments.images})
    at_least(8, **{"--shadows": arguments.shadows})
    if arguments.shadows % 2:
        raise ValueError(f"--shadows must be even, got {arguments.shadows}")
    at_least(3, **{"--ensemble": arguments.ensemble})
    at_least(100, **{"--samples": arguments.samples})
    above(0, **{"--utility-budget": arguments.utility_budget})
    if arguments.train_epochs is not None:
        at_least(1, **{"--train-epochs": arguments.train_epochs})
    return SETTINGS[arguments.dataset]


def _text(columns: dict[str, dict[str, Column]], arguments: Arguments, seconds: float) -> str:
    parts = [tables(f"{arguments.dataset}, forget {name}", found) for name, found in
             columns.items()]  # fmt: skip
    found = describe_environment()
    end = (
        f"{datetime.date.today()}, {found['devices']}, {arguments.ensemble} models of each kind, "
        f"{seconds:.0f} s"
    )
    return "\n\n".join([*parts, end])


def main() -> None:
    """Runs with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
