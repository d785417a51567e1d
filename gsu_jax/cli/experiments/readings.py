"""Which reading of Bae et al. 2023 gives its MNIST figures? Its open choices, one row each.

The study is that of mnist138.py with other rows: --models-from runs/mnist138 takes its models.
"""

from itertools import product

from gsu_jax.cli import main as run_experiment
from gsu_jax.methods import Before, GradientAscent, GradientSurgery, Retrain
from gsu_jax.models import MLPVAEConfig
from gsu_jax.study import Recipe, StudyConfig

PAPER = {
    "before": {
        "fratio": "0.343 (0.027)",
        "inception_score": "2.053 (0.029)",
        "fid": "0.030 (0.003)",
        "seconds": "218.6",
    },
    "gradient_ascent": {
        "fratio": "0.264 (0.141)",
        "inception_score": "2.029 (0.018)",
        "fid": "0.127 (0.059)",
        "seconds": "1.010",
    },
    "feature_unlearning": {
        "fratio": "0.344 (0.019)",
        "inception_score": "2.048 (0.021)",
        "fid": "0.031 (0.002)",
        "seconds": "166.2",
    },
    "gradient_surgery": {
        "fratio": "0.153 (0.057)",
        "inception_score": "2.192 (0.076)",
        "fid": "0.092 (0.030)",
        "seconds": "13.12",
    },
}

CONFIG = StudyConfig(
    experiment="readings",
    dataset="mnist",
    classes=("1", "3", "8"),
    forget="1",
    model=MLPVAEConfig(),
    pretraining=Recipe(epochs=60),
    judge_gate=0.99,
    published=PAPER,
)

# Through the decoder the KL term is a constant, so that both losses are one reading.
LOSSES = (("elbo", "model"), ("reconstruction", "model"), ("elbo", "decoder"))
INCOMING = {"before": "gradients", "after": "steps"}  # where the projection stands: of Adam


def surgery(
    sign: str, when: str, k: int, loss_through: tuple[str, str], adam: str
) -> GradientSurgery:
    """One reading, labeled such as "surgery-always-k1-elbo-model-before"."""
    loss, through = loss_through
    prefix = "surgery" if sign == "ascend" else sign
    return GradientSurgery(
        label=f"{prefix}-{when}-k{k}-{loss}-{through}-{adam}",
        sign=sign,
        when=when,
        retain_gradients=k,
        loss=loss,
        through=through,
        incoming=INCOMING[adam],
    )


READINGS = (
    Before(),
    Retrain(),
    GradientAscent(),
    GradientAscent(label="ascent-reconstruction", loss="reconstruction"),
    GradientAscent(label="ascent-decoder", through="decoder"),
    *(
        surgery("ascend", *choices)
        for choices in product(("always", "conflict"), (1, 4), LOSSES, ("before", "after"))
    ),
    # Descending l_f trains on what is to be forgotten: four rows show that nothing is.
    *(
        surgery("descend", when, 1, LOSSES[0], adam)
        for when, adam in product(("always", "conflict"), ("before", "after"))
    ),
    GradientSurgery(label="per-module", scope="module"),
    GradientSurgery(label="per-leaf", scope="leaf"),
    GradientSurgery(label="batch-64", batch_size=64),
    GradientSurgery(label="batch-256", batch_size=256),
    GradientSurgery(label="retain-batch-512", retain_batch_size=512),
)


def main() -> None:
    """Runs the study with the options of the command line."""
    run_experiment(CONFIG, methods=READINGS, seeds=5, description=__doc__)
