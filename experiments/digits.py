"""Forget a digit of scikit-learn's 8x8 digits: the whole protocol in minutes, with no download."""

from pathlib import Path

from gsu_jax.cli import Arguments, main

DEFAULTS = Arguments(
    forget="1",
    dataset="digits",
    seeds=3,
    epochs=20,
    out=Path("runs/digits"),
    methods=(
        "before",
        "retrain",
        "fine_tune",
        "gradient_ascent",
        "gradient_surgery",
        "redirect_surgery",
    ),
)


def config(arguments: Arguments):
    """The study, with its settings."""
    # Imported here: Flax and its company take seconds that --help should not.
    from gsu_jax.models import MLPVAEConfig
    from gsu_jax.study import Recipe, StudyConfig

    return StudyConfig(
        experiment="digits",
        dataset=arguments.dataset,
        forget=arguments.forget,
        model=MLPVAEConfig(image_shape=(8, 8, 1), widths=(256, 256), latent_size=16),
        pretraining=Recipe(epochs=200, batch_size=64),
        judging=Recipe(epochs=40, batch_size=64, learning_rate=3e-3, one_cycle=True),
        epochs=arguments.epochs,
        ensemble=arguments.ensemble,
    )


if __name__ == "__main__":
    main(config, DEFAULTS)
