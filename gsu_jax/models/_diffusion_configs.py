"""Settings of the ready-made diffusion models, and the configs that ship; needs no Flax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from gsu_jax import checks
from gsu_jax.models._configs import (
    AllCNNConfig,
    ConvVAEConfig,
    MLPClassifierConfig,
    MLPVAEConfig,
    ResNetConfig,
    check_image_shape,
    check_sizes,
)


@dataclass(frozen=True)
class DiffusionConfig:
    """The settings that all diffusion models have.

    The noise level is gamma = -log SNR, which rises with time t in [0, 1] from `gamma_min` to
    `gamma_max`, both in [-30, 30).

    Attributes:
        image_shape: Height, width and channels of an image.
        gamma_min: Noise level at t = 0. At -13.3 the noise is a sixth of the step between two
            values of a pixel.
        gamma_max: Noise level at t = 1. At 9 the prior term of an image whose pixels are all 1 is
            below 0.0001 nats a pixel.
        schedule: "fixed" keeps both ends; the bound learns them if it is "learned".
        shape: Between the ends gamma is "linear" in t, or "monotone": a learned rising curve that
            lowers the variance of the training loss.
        weighting: Weight of each noise level in the training loss. "vlb" is the variational bound;
            "sigmoid" and "edm" spend less on noise that is too small to see.
        sigmoid_bias: b of the weight sigmoid(gamma + b).
        data_deviation: Standard deviation of a pixel in [-1, 1], which scales the network.
        sampler: "ancestral", "ddim" or "heun".
        sampler_steps: Steps of the sampler. A step of "heun" calls the network twice.
        bound_times: Noise levels per image in an estimate of the bound.
        dtype: Type of the computation; parameters, losses and images are float32.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A setting is out of its range.
    """

    image_shape: tuple[int, int, int] = (28, 28, 1)
    gamma_min: float = -13.3
    gamma_max: float = 9.0
    schedule: Literal["fixed", "learned"] = "fixed"
    shape: Literal["linear", "monotone"] = "linear"
    weighting: Literal["vlb", "sigmoid", "edm"] = "sigmoid"
    sigmoid_bias: float = 2.0
    data_deviation: float = 0.5
    sampler: Literal["ancestral", "ddim", "heun"] = "ddim"
    sampler_steps: int = 50
    bound_times: int = 16
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_sizes(self, "image_shape")
        check_image_shape(self.image_shape)
        checks.in_range(-30, 30, gamma_min=self.gamma_min, gamma_max=self.gamma_max)
        if self.gamma_min >= self.gamma_max:
            raise ValueError(
                "gamma_min must be below gamma_max, since noise rises with time, got "
                f"gamma_min={self.gamma_min} and gamma_max={self.gamma_max}; swap them"
            )
        checks.choice(("fixed", "learned"), schedule=self.schedule)
        checks.choice(("linear", "monotone"), shape=self.shape)
        checks.choice(("vlb", "sigmoid", "edm"), weighting=self.weighting)
        if self.schedule == "learned" and self.weighting != "vlb":
            raise ValueError(
                "schedule must be 'fixed' unless weighting is 'vlb', because a weighted loss falls "
                f"as its ends meet, got schedule='learned' and weighting={self.weighting!r}"
            )
        checks.finite(sigmoid_bias=self.sigmoid_bias)
        checks.above(0, data_deviation=self.data_deviation)
        checks.choice(("ancestral", "ddim", "heun"), sampler=self.sampler)
        checks.whole(1, sampler_steps=self.sampler_steps, bound_times=self.bound_times)
        checks.choice(("float32", "bfloat16"), dtype=self.dtype)


@dataclass(frozen=True)
class MLPDiffusionConfig(DiffusionConfig):
    """Settings of `mlp_diffusion`: those of `DiffusionConfig`, and the sizes of the network.

    Attributes:
        coordinates: Coordinates of the image that the network sees and corrects, at most all of
            them. The others are denoised as independent Gaussians.
        width: Units of a layer.
        depth: Number of residual layers.
        basis: Which coordinates a study starts with: the slowest "cosine" waves, or the "principal"
            components of the images that a model is trained on, without the forgotten ones where it
            is retrained. Elsewhere call `use_principal_components` on what `init` returns.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A setting is out of its range.

    Example:
        >>> MLPDiffusionConfig((8, 8, 1), width=64, depth=2).coordinates
        256
    """

    # Fields of a later release: a study's record has them where they are not the default.
    added: ClassVar[tuple[str, ...]] = ("basis",)

    coordinates: int = 256
    width: int = 512
    depth: int = 8
    basis: Literal["cosine", "principal"] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice(("cosine", "principal"), basis=self.basis)
        sizes = {"coordinates": self.coordinates, "width": self.width, "depth": self.depth}
        checks.integer(**sizes)
        checks.at_least(1, **sizes)


@dataclass(frozen=True)
class TransformerDiffusionConfig(DiffusionConfig):
    """Settings of `transformer_diffusion`: those of `DiffusionConfig`, and the network's sizes.

    Attributes:
        patch: Side of a square patch, in pixels; it divides height and width.
        width: Size of a token, a multiple of `heads` and of 4.
        depth: Number of blocks.
        heads: Number of heads of the attention.
        discrete: Whether x^ takes into account that a pixel has one of 256 values and is often
            exactly black. For images with a black background: it is then drawn without speckles
            and costs almost no bits.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A setting is out of its range.

    Example:
        >>> TransformerDiffusionConfig((28, 28, 1), patch=7).tokens
        16
    """

    # Fields of a later release: a study's record has them where they are not the default.
    added: ClassVar[tuple[str, ...]] = ("discrete",)

    patch: int = 7
    width: int = 128
    depth: int = 4
    heads: int = 4
    discrete: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {"patch": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        checks.integer(**sizes)
        checks.at_least(1, **sizes)
        height, width, _ = self.image_shape
        if height % self.patch or width % self.patch:
            common = [p for p in range(2, 17) if height % p == 0 == width % p]
            advice = f"; {checks.listing(map(str, common))} would" if common else ""
            raise ValueError(
                f"patch must divide height and width of the image, got patch={self.patch} for "
                f"image_shape={self.image_shape}{advice}"
            )
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width must be a multiple of heads and of 4, got width={self.width} and "
                f"heads={self.heads}"
            )

    @property
    def tokens(self) -> int:
        """Number of patches of an image."""
        height, width, _ = self.image_shape
        return height * width // self.patch**2


GENERATOR_CONFIGS = (MLPVAEConfig, ConvVAEConfig, MLPDiffusionConfig, TransformerDiffusionConfig)
CLASSIFIER_CONFIGS = (AllCNNConfig, ResNetConfig, MLPClassifierConfig)
