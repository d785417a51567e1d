"""Settings of the ready-made networks, as frozen dataclasses; needs no Flax."""

from dataclasses import dataclass
from typing import Any, Literal

from gsu_jax import checks


def check_config(argument: str, kinds: tuple[type, ...], config: Any) -> None:
    """Raises TypeError unless the type of `config` is in `kinds`."""
    if type(config) not in kinds:
        known = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{argument} must be one of {known}, got {type(config).__name__}")


def check_sizes(config: Any, *names: str) -> None:
    """Checks fields that hold sizes, and makes tuples of lists, since configs are hashed."""
    for name in names:
        values = getattr(config, name)
        if not isinstance(values, tuple | list):
            raise TypeError(f"{name} must be a tuple of integers, got {values!r}")
        for value in values:
            checks.integer(**{f"each of {name}": value})
        if not values or min(values) < 1:
            raise ValueError(f"{name} must hold positive sizes, got {values}")
        object.__setattr__(config, name, tuple(values))


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `shape` has three axes."""
    if len(shape) != 3:
        raise ValueError(f"image_shape must be (height, width, channels), got {shape}")


@dataclass(frozen=True)
class AllCNNConfig:
    """Settings of `allcnn`.

    Attributes:
        classes: Number of classes. A study sets it from its data.
        channels: Channels of the images.
        widths: Channels of the first three convolutions and of the later ones. The original has 96
            and 192; 16 and 32 reach 99.8 % on the digits 1, 3 and 8 in a fraction of the time.
        dropout: Share of units that training drops after each strided convolution. At these widths
            the network is better without (99.8 % against 99.7 % on the digits 1, 3 and 8).

    Raises:
        TypeError: Sizes are not integers in a tuple.
        ValueError: A setting is out of its range.

    Example:
        >>> AllCNNConfig(classes=3).widths
        (16, 32)
    """

    classes: int = 2
    channels: int = 1
    widths: tuple[int, int] = (16, 32)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least(2, classes=self.classes)
        checks.at_least(1, channels=self.channels)
        check_sizes(self, "widths")
        if len(self.widths) != 2:
            raise ValueError(
                "widths must be two sizes such as (16, 32), of the first three convolutions and of "
                f"the later ones, got {self.widths}"
            )
        checks.in_range(0, 1, dropout=self.dropout)


@dataclass(frozen=True)
class VAEConfig:
    """The settings that all variational autoencoders have.

    Attributes:
        image_shape: Height, width and channels of an image.
        widths: Sizes of the encoder's hidden layers; the decoder mirrors them.
        latent_size: Dimensions of z.
        beta: Weight of the KL term in the training loss (Higgins et al. 2017); 1 gives the ELBO.
        likelihood: p(x|z), "bernoulli" (logits) or "gaussian" (mean in [0, 1], fixed variance).
        variance: Variance of a pixel under "gaussian"; "bernoulli" ignores it.
        dtype: Type of the computation; parameters, losses and latents are float32.

    Raises:
        TypeError: Sizes are not integers in a tuple.
        ValueError: A setting is out of its range.
    """

    image_shape: tuple[int, int, int]
    widths: tuple[int, ...]
    latent_size: int
    beta: float = 1.0
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    variance: float = 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_sizes(self, "image_shape", "widths")
        check_image_shape(self.image_shape)
        checks.at_least(1, latent_size=self.latent_size)
        checks.at_least(0, beta=self.beta)
        checks.above(0, variance=self.variance)
        checks.choice(("bernoulli", "gaussian"), likelihood=self.likelihood)
        checks.choice(("float32", "bfloat16"), dtype=self.dtype)


@dataclass(frozen=True)
class MLPVAEConfig(VAEConfig):
    """Settings of `mlp_vae`; the attributes are those of `VAEConfig`.

    Example:
        >>> MLPVAEConfig(latent_size=2).widths
        (400, 400)
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    widths: tuple[int, ...] = (400, 400)
    latent_size: int = 20
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"


@dataclass(frozen=True)
class ConditionalVAEConfig(MLPVAEConfig):
    """Settings of `conditional_vae`: those of `mlp_vae`, and the number of classes.

    Attributes:
        classes: Number of classes.

    Raises:
        TypeError: Sizes are not integers in a tuple.
        ValueError: A setting is out of its range.

    Example:
        >>> ConditionalVAEConfig((8, 8, 1), classes=3).classes
        3
    """

    classes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(1, classes=self.classes)


@dataclass(frozen=True)
class ConvVAEConfig(VAEConfig):
    """Settings of `conv_vae`; the attributes are those of `VAEConfig`.

    Here `widths` are the channels after each layer of the encoder. Every layer halves the image, so
    height and width must be multiples of 2^(number of widths).

    Example:
        >>> ConvVAEConfig((16, 16, 3), widths=(8, 16)).inner_shape
        (4, 4, 16)
    """

    image_shape: tuple[int, int, int] = (64, 64, 3)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    latent_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        multiple = 2 ** len(self.widths)
        if any(side % multiple for side in self.image_shape[:2]):
            raise ValueError(
                f"image_shape must have sides that are multiples of {multiple}, because each of "
                f"{len(self.widths)} widths halves the image, got {self.image_shape}; give fewer "
                "widths, or load the images with another image_size"
            )

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the smallest layer."""
        multiple = 2 ** len(self.widths)
        height, width, _ = self.image_shape
        return height // multiple, width // multiple, self.widths[-1]


@dataclass(frozen=True)
class ResNetConfig:
    """Settings of `resnet18`.

    Attributes:
        classes: Number of classes. A study sets it from its data.
        channels: Channels of the images.
        width: Channels of the first stage. The four stages have 1, 2, 4 and 8 times as many. The
            original has 64; 16 take a sixteenth of the time.
        halvings: How often the image is halved before the first stage: 1 for 32 or 64 pixels, 0 for
            fewer. The original halves twice, for 224 pixels.
        shift: Training moves each image by up to this many pixels in each direction.
        mirror: Whether training mirrors each image with probability 1/2.
        dropout: Share of features that training drops before the last layer.

    Raises:
        ValueError: A setting is out of its range.

    Example:
        >>> ResNetConfig(classes=2, width=16).halvings
        1
    """

    classes: int = 2
    channels: int = 3
    width: int = 64
    halvings: int = 1
    shift: int = 4
    mirror: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least(2, classes=self.classes)
        checks.at_least(1, channels=self.channels, width=self.width)
        checks.at_least(0, halvings=self.halvings, shift=self.shift)
        checks.in_range(0, 1, dropout=self.dropout)


@dataclass(frozen=True)
class MLPClassifierConfig:
    """Settings of `mlp_classifier`.

    Attributes:
        image_shape: Height, width and channels of an image. A study sets it from its data.
        classes: Number of classes. A study sets it from its data.
        widths: Sizes of the hidden layers; the last are the features.

    Raises:
        TypeError: Sizes are not integers in a tuple.
        ValueError: A setting is out of its range.

    Example:
        >>> MLPClassifierConfig(classes=10).widths
        (256, 32)
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    classes: int = 2
    widths: tuple[int, ...] = (256, 32)

    def __post_init__(self) -> None:
        checks.at_least(2, classes=self.classes)
        check_sizes(self, "image_shape", "widths")
        check_image_shape(self.image_shape)
