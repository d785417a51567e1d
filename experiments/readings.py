"""Which reading of Bae et al. 2023 gives its MNIST figures? Its open choices, one row each.

The study is that of mnist138.py with other rows: a copy of its finished folder as --out saves the
training of the models.
"""

from pathlib import Path

from mnist138 import config

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


if __name__ == "__main__":
    main(config, DEFAULTS, READINGS)
