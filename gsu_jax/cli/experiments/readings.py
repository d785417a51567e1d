"""Which reading of Bae et al. 2023 gives its MNIST figures? Its open choices, one row each.

The study is that of mnist138.py with other rows: --models-from runs/mnist138 takes its models.
"""

from dataclasses import replace
from itertools import product

from gsu_jax.cli import main as run_experiment
from gsu_jax.cli.experiments import mnist138
from gsu_jax.methods import Before, GradientAscent, GradientSurgery, Retrain

CONFIG = replace(mnist138.CONFIG, experiment="readings")

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
