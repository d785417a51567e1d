"""Forget a digit of scikit-learn's 8x8 digits: the whole protocol in minutes, with no download."""

from gsu_jax.cli import main as run_experiment
from gsu_jax.models import MLPClassifierConfig, MLPVAEConfig
from gsu_jax.study import Recipe, StudyConfig

CONFIG = StudyConfig(
    experiment="digits",
    dataset="digits",
    forget="1",
    model=MLPVAEConfig(image_shape=(8, 8, 1), widths=(256, 256), latent_size=16),
    pretraining=Recipe(epochs=200, batch_size=64),
    judging=Recipe(epochs=40, batch_size=64, learning_rate=3e-3, one_cycle=True),
    epochs=20,
    second_judge=MLPClassifierConfig(),
    second_judge_gate=0.9,
    second_judging=Recipe(epochs=40, batch_size=64, learning_rate=3e-3, one_cycle=True),
)

ROWS = (
    "before",
    "retrain",
    "gradient_ascent",
    "gradient_surgery",
    "redirect_surgery",
    "redirect_flow",
)


def main() -> None:
    """Runs the study with the options of the command line."""
    run_experiment(CONFIG, rows=ROWS, description=__doc__)
