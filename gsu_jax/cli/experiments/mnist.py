"""Forget one digit of all ten of MNIST (--forget 1, 4, 9, ...), with the settings of mnist138.py.

After the first digit, --models-from the folder of its run: only the retrained models are new.
"""

from gsu_jax.cli import main as run_experiment
from gsu_jax.models import MLPClassifierConfig, MLPVAEConfig
from gsu_jax.study import Recipe, StudyConfig

CONFIG = StudyConfig(
    experiment="mnist",
    dataset="mnist",
    forget="1",
    model=MLPVAEConfig(),
    # 60,000 images: 5,600 steps, and a judge of twice the steps of that of mnist138.py.
    pretraining=Recipe(epochs=12),
    judging=Recipe(epochs=4, learning_rate=3e-3, one_cycle=True),
    judge_gate=0.98,
    second_judge=MLPClassifierConfig(),
    second_judge_gate=0.95,
)


def main() -> None:
    """Runs the study with the options of the command line."""
    run_experiment(CONFIG, seeds=5, description=__doc__)
