"""Which learning rate and retain weight? Runs surgery with all of them in one compiled program.

The model and its training are those of digits.py, or for any other --dataset those of mnist.py.
The best setting has the lowest mean fratio among the settings of which no seed diverged and whose
retained nelbo lies at most --budget percent above the pre-trained model's, in the mean over seeds.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from gsu_jax.cli import read_images, run_command, terminal_width
from gsu_jax.models import MLPVAEConfig
from gsu_jax.report import terminal_table
from gsu_jax.runtime import announce
from gsu_jax.study import Recipe, StudyConfig

# No model is retrained: the settings are compared with each other.
DIGITS = StudyConfig(
    experiment="sweep",
    dataset="digits",
    forget="1",
    model=MLPVAEConfig(image_shape=(8, 8, 1), widths=(256, 256), latent_size=16),
    pretraining=Recipe(epochs=200, batch_size=64),
    judging=Recipe(epochs=40, batch_size=64, learning_rate=3e-3, one_cycle=True),
    epochs=20,
    ensemble=0,
)

MNIST = StudyConfig(
    experiment="sweep",
    dataset="mnist",
    forget="1",
    model=MLPVAEConfig(),
    pretraining=Recipe(epochs=12),
    judging=Recipe(epochs=4, learning_rate=3e-3, one_cycle=True),
    judge_gate=0.98,
    ensemble=0,
)


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
    out: Path = Path("runs/sweep")
    """Where results go. The same command again resumes; more seeds or values extend."""
    models_from: Path | None = None
    """The --out of another study with the same data and training, whose models to copy."""
    data_dir: Path | None = None
    """The folder of TFDS data sets; by default $TFDS_DATA_DIR."""
    program_cache: bool = True
    """Keep compiled programs on disk, so that the next run starts sooner."""


def config(arguments: Arguments) -> StudyConfig:
    """The study of the command line."""
    base = DIGITS if arguments.dataset == "digits" else MNIST
    epochs = base.epochs if arguments.epochs is None else arguments.epochs
    return replace(base, dataset=arguments.dataset, forget=arguments.forget, epochs=epochs)


def run(arguments: Arguments) -> str:
    """Runs the sweep and returns its table, and where the front and the best setting are."""
    from gsu_jax.study import run_sweep  # Flax takes seconds that --help should not

    study = config(arguments)
    source = read_images(study, arguments.data_dir)
    announce(f"progress: {arguments.out / 'log.jsonl'}")
    results, sweep, best = run_sweep(
        study,
        source,
        arguments.out,
        learning_rates=arguments.learning_rates,
        retain_weights=arguments.retain_weights,
        seeds=arguments.seeds,
        budget=arguments.budget,
        models_from=arguments.models_from,
    )
    table, front = terminal_table(results, width=terminal_width()), arguments.out / "front.png"
    chosen = f"{best['settings']['label']}, in {arguments.out / 'best.json'}" if best else "none"
    return f"{table}\n\nfront: {front}\nbest: {chosen} (the rule: {sweep['rule']})"


def main() -> None:
    """Runs the sweep with the options of the command line."""
    run_command(run, Arguments(), description=__doc__)
