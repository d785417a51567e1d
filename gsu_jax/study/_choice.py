"""Networks and recipes for images of one's own, chosen from their size and number."""

from dataclasses import replace
from typing import Any

from gsu_jax.data import ClassRequest, Source, parse_request
from gsu_jax.methods import Method
from gsu_jax.models import AllCNNConfig, ConvVAEConfig, MLPVAEConfig, ResNetConfig
from gsu_jax.study._config import StudyConfig
from gsu_jax.study._pretraining import Recipe

SMALL = 28  # pixels up to which a gray image needs no convolutions
LEAST_SIDE = 4  # pixels of the smallest layer of a convolutional VAE
PRETRAINING_STEPS, JUDGING_STEPS, UNLEARNING_STEPS = 4000, 800, 50
QUICK = {
    "experiment": "smoke test, the figures mean nothing",
    "pretraining": Recipe(epochs=2),
    "judging": Recipe(epochs=2),
    "judge_gate": 0.0,
    "ensemble": 2,
    "samples": 500,
}


def choose_config(source: Source, forget: str, *, quick: bool = False) -> StudyConfig:
    """Returns the settings of a study of images of one's own.

    Gray images of up to 28 pixels get the linear VAE and the `AllCNN` judge; others the
    convolutional VAE, whose layers halve the image down to 4 to 7 pixels, and the `ResNet` judge.
    Training takes about 4,000 steps and that of the judge 800. Unlearning takes as many epochs as
    make 50 steps. These are starting points, tuned on no data: change what does not fit with
    `dataclasses.replace`.

    Args:
        source: The images.
        forget: What to forget, as for `parse_request`.
        quick: For a smoke test: two epochs of every training and few samples. The figures of such
            a study mean nothing.

    Returns:
        A `StudyConfig`.

    Raises:
        ValueError: The sides of the images cannot be halved, they have neither 1 nor 3 channels,
            there are fewer than two classes to tell apart, or the request does not fit.

    Example:
        >>> from gsu_jax.data import load
        >>> config = choose_config(load("digits"), "1")
        >>> config.model.widths, config.pretraining.epochs, config.epochs
        ((400, 400), 182, 25)
    """
    request = parse_request(forget, source)
    split, attribute, gate = request.split(source).train, source.label, 0.5
    if isinstance(request, ClassRequest):
        (attribute, _), gate = request.target(source), 0.8
    if len(source.classes[attribute]) < 2:
        raise ValueError(
            f"{source.name} has one class, {source.classes[attribute][0]!r}; the judge, in whose "
            "features samples are compared, needs two or more"
        )
    images, batch = len(source.train), 64 if len(source.train) < 5000 else 128
    model, judge = _networks(source)
    steps = -(-split.counts["forget"] // Method.batch_size)
    config = StudyConfig(
        experiment="own",
        dataset=source.name,
        forget=forget,
        model=model,
        judge=judge,
        judge_gate=gate,
        pretraining=_recipe(PRETRAINING_STEPS, images, batch, 1e-3),
        judging=_recipe(JUDGING_STEPS, images, batch, 3e-3),
        epochs=-(-UNLEARNING_STEPS // steps),
        ensemble=3,
        samples=5_000,
    )
    return replace(config, **QUICK) if quick else config


def _networks(source: Source) -> tuple[Any, Any]:
    """Configs of the generator and the judge for images of this shape."""
    height, width, channels = source.image_shape
    if channels not in (1, 3):
        raise ValueError(f"{source.name}: images must have 1 or 3 channels, got {channels}")
    if channels == 1 and max(height, width) <= SMALL:
        return MLPVAEConfig(image_shape=source.image_shape), AllCNNConfig()
    halvings = 0
    while all(side % 2 ** (halvings + 1) == 0 and side >> (halvings + 1) >= LEAST_SIDE
              for side in (height, width)):  # fmt: skip
        halvings += 1
    if not halvings or max(height, width) >> halvings >= 4 * LEAST_SIDE:
        raise ValueError(
            f"{source.name}: the convolutional VAE halves images down to {LEAST_SIDE} pixels or a "
            f"little more, got {height}x{width}; crop and resize them, for example with image_size="
            f"{max(16, 2 ** (min(height, width).bit_length() - 1))}"
        )
    widths = tuple(16 * 2**i for i in range(halvings))
    model = ConvVAEConfig(source.image_shape, widths=widths, latent_size=64, variance=0.1)
    side = min(height, width)
    return model, ResNetConfig(width=16, halvings=int(side >= 32), shift=side // 10)


def _recipe(steps: int, images: int, batch: int, rate: float) -> Recipe:
    """About `steps` steps, at least three epochs."""
    epochs = max(3, -(-steps // max(images // batch, 1)))
    return Recipe(epochs=epochs, batch_size=batch, learning_rate=rate, one_cycle=True)
