"""Which learning rate and retain weight? Surgery with all of them, under one compiled program.

The model and its training are those of digits.py, or for any other --dataset those of mnist.py.
Best is the lowest mean fratio among the settings of which no seed diverged and whose retained nelbo
lies at most --budget percent above the pre-trained model's, in the mean over seeds.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import digits
import mnist
import tyro

from gsu_jax.cli import answer, read_images, width


@dataclass(frozen=True)
class Arguments:
    """What can be set from the command line."""

    dataset: str = "digits"
    """A TFDS name, "digits", an .npz of your own, or a folder of images."""
    forget: str = "1"
    """What to forget: a class ("1"), or an attribute ("Male", "shape=heart")."""
    learning_rates: tuple[float, ...] = (1e-4, 5e-4, 2e-3)
    """Of Adam."""
    retain_weights: tuple[float, ...] = (0.0, 1.0, 5.0)
    """Of the retain gradient that is added after the projection; 0 is the paper's surgery."""
    seeds: int = 3
    """How many models to train and unlearn: seeds 0 to N - 1."""
    epochs: int | None = None
    """Epochs of unlearning; by default those of digits.py or mnist.py."""
    budget: float = 2.0
    """Percent that the retained nelbo of the best setting may lie above the pre-trained model's."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/sweep")
    """Where results go. The same command again resumes; more seeds or values extend."""
    models_from: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The --out of another study, to take models of the same data and training from."""
    data_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""


def config(arguments: Arguments):
    """The study of digits.py or mnist.py under its own name, without retrained models."""
    of = digits if arguments.dataset == "digits" else mnist
    epochs = of.DEFAULTS.epochs if arguments.epochs is None else arguments.epochs
    own = {"dataset": arguments.dataset, "forget": arguments.forget, "epochs": epochs}
    return replace(of.config(replace(of.DEFAULTS, **own, ensemble=0)), experiment="sweep")


def run(arguments: Arguments) -> str:
    """Runs the sweep and returns its table, and where the front and the best setting are."""
    from gsu_jax.report import terminal_table
    from gsu_jax.study import run_sweep

    study = config(arguments)
    results, sweep, best = run_sweep(
        study,
        read_images(study, arguments.data_dir),
        arguments.out,
        learning_rates=arguments.learning_rates,
        retain_weights=arguments.retain_weights,
        seeds=arguments.seeds,
        budget=arguments.budget,
        models_from=arguments.models_from,
    )
    table, front = terminal_table(results, width=width()), arguments.out / "front.png"
    chosen = f"{best['settings']['label']}, in {arguments.out / 'best.json'}" if best else "none"
    return f"{table}\n\nfront: {front}\nbest: {chosen} (the rule: {sweep['rule']})"


if __name__ == "__main__":
    answer(run, Arguments())
