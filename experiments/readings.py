"""Which reading of Bae et al. 2023 gives its MNIST figures? Its open choices, one row each."""

from dataclasses import replace
from pathlib import Path

from mnist138 import PAPER
from mnist138 import config as mnist138

from gsu_jax import Before, GradientAscent, GradientSurgery, Retrain
from gsu_jax.command_line import Arguments, main

DEFAULTS = Arguments(forget="1", dataset="mnist", seeds=5, epochs=1, out=Path("runs/readings"))

READINGS = (
    Before(),
    Retrain(),
    GradientAscent(),
    GradientAscent(label="ascent-reconstruction", loss="reconstruction"),
    GradientAscent(label="ascent-decoder", through="decoder"),
    GradientSurgery(label="plain"),
    GradientSurgery(label="conflict", when="conflict"),
    GradientSurgery(label="span-of-4", retain_gradients=4),
    GradientSurgery(label="reconstruction", loss="reconstruction"),
    GradientSurgery(label="decoder", through="decoder"),
    GradientSurgery(label="after-adam", incoming="steps"),
    GradientSurgery(label="per-module", scope="module"),
    GradientSurgery(label="per-leaf", scope="leaf"),
    GradientSurgery(label="batch-64", batch_size=64),
    GradientSurgery(label="batch-256", batch_size=256),
    GradientSurgery(label="retain-batch-512", retain_batch_size=512),
)


def config(arguments: Arguments):
    """The study of mnist138.py under a name of its own."""
    return replace(mnist138(arguments), experiment="readings", published=PAPER)


if __name__ == "__main__":
    main(config, DEFAULTS, READINGS)
