"""Forget one class of Fashion-MNIST (--forget Sandal, Bag, ...), with the settings of mnist138.py.

After the first class, --models-from the folder of its run: only the retrained models are new.
"""

from pathlib import Path

from gsu_jax.cli import Arguments, main

DEFAULTS = Arguments(
    forget="Sandal", dataset="fashion_mnist", seeds=5, epochs=1, out=Path("runs/fashion")
)


def config(arguments: Arguments):
    """The study, with its settings."""
    # Imported here: Flax and its company take seconds that --help should not.
    from gsu_jax.models import MLPVAEConfig
    from gsu_jax.study import Recipe, StudyConfig

    return StudyConfig(
        experiment="fashion",
        dataset=arguments.dataset,
        forget=arguments.forget,
        model=MLPVAEConfig(),
        pretraining=Recipe(epochs=40),
        judging=Recipe(epochs=15, learning_rate=3e-3, one_cycle=True),
        judge_gate=0.85,
        epochs=arguments.epochs,
        ensemble=arguments.ensemble,
    )


if __name__ == "__main__":
    main(config, DEFAULTS)
