"""Forget one class of Fashion-MNIST (--forget Sandal, Bag, ...), with the settings of mnist138.py.

After the first class, --models-from the folder of its run: only the retrained models are new.
"""

from gsu_jax.cli import main as run_experiment
from gsu_jax.models import MLPClassifierConfig, MLPVAEConfig
from gsu_jax.study import Recipe, StudyConfig

CONFIG = StudyConfig(
    experiment="fashion",
    dataset="fashion_mnist",
    forget="Sandal",
    model=MLPVAEConfig(),
    pretraining=Recipe(epochs=40),
    judging=Recipe(epochs=15, learning_rate=3e-3, one_cycle=True),
    judge_gate=0.85,
    second_judge=MLPClassifierConfig(),
    second_judge_gate=0.8,
    second_judging=Recipe(epochs=10, learning_rate=3e-3, one_cycle=True),
)


def main() -> None:
    """Runs the study with the options of the command line."""
    run_experiment(CONFIG, seeds=5, description=__doc__)
