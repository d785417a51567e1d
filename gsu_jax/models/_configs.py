"""Settings of the ready-made networks, as frozen dataclasses. No Flax is imported here."""

from dataclasses import dataclass
from typing import Any, Literal


def check_config(argument: str, kinds: tuple[type, ...], config: Any) -> None:
    """Raises TypeError unless the type of `config` is in `kinds`."""
    if type(config) not in kinds:
        known = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{argument} must be one of {known}, found {type(config).__name__}.")


@dataclass(frozen=True)
class AllCNNConfig:
    """Settings of `allcnn`.

    Attributes:
      classes: number of classes; a study sets those of its data.
      channels: of the images.
      widths: channels of the first three and of the later convolutions. The original has 96 and
        192, which takes 15 minutes an epoch of MNIST on two CPU cores; 16 and 32 judge digits
        just as well.
      dropout: share of units dropped after each strided convolution, in training; at these widths
        the network is better without (99.8 % against 99.7 % on digits 1, 3, 8).
    """

    classes: int = 2
    channels: int = 1
    widths: tuple[int, int] = (16, 32)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.classes < 2 or self.channels < 1 or min(self.widths) < 1:
            raise ValueError(
                "an AllCNN needs at least 2 classes and positive channels and widths, found "
                f"classes={self.classes}, channels={self.channels}, widths={self.widths}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), found {self.dropout}.")


@dataclass(frozen=True)
class ConvVAEConfig:
    """Settings of `conv_vae`.

    Attributes:
      image_shape: height, width, channels; both sides a multiple of 2^(number of widths).
      widths: channels after each of the encoder's layers, every one of which halves the image; the
        decoder mirrors them.
      latent_size: dimensions of z.
      beta: weight of the KL term in the training loss (Higgins et al. 2017); 1 is the ELBO.
      likelihood: p(x|z), "bernoulli" (logits) or "gaussian" (mean in [0, 1], fixed variance).
      variance: the Gaussian's variance per pixel; not used by "bernoulli".
      dtype: of the computation; parameters, losses and latents are float32.
    """

    image_shape: tuple[int, int, int] = (64, 64, 3)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    latent_size: int = 128
    beta: float = 1.0
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    variance: float = 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("image_shape", "widths"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name} must hold positive sizes, found {sizes}.")
        if len(self.image_shape) != 3:
            raise ValueError(
                f"image_shape must be (height, width, channels), found {self.image_shape}."
            )
        multiple = 2 ** len(self.widths)
        if any(side % multiple for side in self.image_shape[:2]):
            raise ValueError(
                f"{len(self.widths)} widths halve the image as often: height and width must be "
                f"multiples of {multiple}, found {self.image_shape}. Give fewer widths, or load "
                "the images with another image_size."
            )
        if self.latent_size < 1:
            raise ValueError(f"latent_size must be at least 1, found {self.latent_size}.")
        if self.beta < 0 or self.variance <= 0:
            raise ValueError(
                f"beta must be at least 0 and variance above 0, found {self.beta}, {self.variance}."
            )
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood must be bernoulli or gaussian, not {self.likelihood!r}.")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, not {self.dtype!r}.")

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the smallest layer."""
        multiple = 2 ** len(self.widths)
        height, width, _ = self.image_shape
        return height // multiple, width // multiple, self.widths[-1]


@dataclass(frozen=True)
class MLPVAEConfig:
    """Settings of `mlp_vae`.

    Attributes:
      image_shape: height, width, channels.
      widths: hidden layers of the encoder; the decoder mirrors them.
      latent_size: dimensions of z.
      beta: weight of the KL term in the training loss (Higgins et al. 2017); 1 is the ELBO.
      likelihood: p(x|z), "bernoulli" (logits) or "gaussian" (mean in [0, 1], fixed variance).
      variance: the Gaussian's variance per pixel; not used by "bernoulli".
      dtype: of the computation; parameters, losses and latents are float32.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    widths: tuple[int, ...] = (400, 400)
    latent_size: int = 20
    beta: float = 1.0
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    variance: float = 0.02
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("image_shape", "widths"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name} must hold positive sizes, found {sizes}.")
        if len(self.image_shape) != 3:
            raise ValueError(
                f"image_shape must be (height, width, channels), found {self.image_shape}."
            )
        if self.latent_size < 1:
            raise ValueError(f"latent_size must be at least 1, found {self.latent_size}.")
        if self.beta < 0 or self.variance <= 0:
            raise ValueError(
                f"beta must be at least 0 and variance above 0, found {self.beta}, {self.variance}."
            )
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood must be bernoulli or gaussian, not {self.likelihood!r}.")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype must be float32 or bfloat16, not {self.dtype!r}.")


@dataclass(frozen=True)
class ResNetConfig:
    """Settings of `resnet18`.

    Attributes:
      classes: number of classes; a study sets those of its data.
      channels: of the images.
      width: channels of the first stage; the four have 1, 2, 4 and 8 times as many. The original
        has 64; 16 take a sixteenth of the time.
      halvings: how often the image is halved before the first stage: 1 for 32 or 64 pixels, 0 for
        fewer; the original does it twice, for 224.
      shift: training images are moved by up to so many pixels in each direction.
      mirror: whether every other training image is mirrored.
      dropout: share of features dropped before the last layer, in training.
    """

    classes: int = 2
    channels: int = 3
    width: int = 64
    halvings: int = 1
    shift: int = 4
    mirror: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.classes < 2 or min(self.channels, self.width) < 1:
            raise ValueError(
                "a ResNet needs at least 2 classes and positive channels and width, found "
                f"classes={self.classes}, channels={self.channels}, width={self.width}."
            )
        if min(self.halvings, self.shift) < 0:
            raise ValueError(
                f"halvings and shift must be at least 0, found {self.halvings} and {self.shift}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), found {self.dropout}.")


GENERATOR_CONFIGS = (MLPVAEConfig, ConvVAEConfig)
CLASSIFIER_CONFIGS = (AllCNNConfig, ResNetConfig)
