"""The paper's CelebA judge: a residual network of 18 layers (He et al. 2015), free of norms."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsu_jax.data import scale_images
from gsu_jax.models import Classifier, Prediction, ResNetConfig
from gsu_jax.networks._functional import functional
from gsu_jax.networks._patches import halve, keep

STAGES = (1, 2, 4, 8)  # channels of the four stages of two blocks each, in units of the first
# The standard deviation of relu(x), x ~ N(0, 1): dividing by it keeps a variance of 1.
RELU_DEVIATION = np.sqrt((1 - 1 / np.pi) / 2)


class _Conv(nnx.Module):
    """A convolution whose kernel has mean 0 and variance 1 / fan-in for each feature.

    `size` 4 halves the image, odd sizes keep it. Standardized weights replace batch statistics, so
    that images do not influence each other (Qiao et al. 2019; Brock et al. 2021).
    """

    def __init__(self, inputs: int, outputs: int, size: int, rngs: nnx.Rngs) -> None:
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape))
        self.gain = nnx.Param(jnp.ones(outputs))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...]
        fan_in = kernel[..., 0].size
        centered = kernel - kernel.mean((0, 1, 2))
        scale = jax.lax.rsqrt(fan_in * jnp.mean(centered**2, (0, 1, 2)) + 1e-4)
        convolve = halve if len(kernel) == 4 else keep
        return convolve(x, centered * scale * self.gain[...]) + self.bias[...]


def _relu(x: jax.Array) -> jax.Array:
    return nnx.relu(x) / RELU_DEVIATION


class _Block(nnx.Module):
    """x + s f(x): f two convolutions, each after a ReLU, and s starts at 0 (De & Smith 2020)."""

    def __init__(self, inputs: int, outputs: int, halve: bool, rngs: nnx.Rngs) -> None:
        self.first = _Conv(inputs, outputs, 4 if halve else 3, rngs)
        self.second = _Conv(outputs, outputs, 3, rngs)
        self.scale = nnx.Param(jnp.zeros(()))
        self.shortcut = _Conv(inputs, outputs, 1, rngs) if inputs != outputs else None
        self.halve = halve

    def __call__(self, x: jax.Array) -> jax.Array:
        y = _relu(x)
        if self.shortcut is not None:
            x = self.shortcut(_pool(y) if self.halve else y)
        return x + self.scale[...] * self.second(_relu(self.first(y)))


def _pool(x: jax.Array) -> jax.Array:
    """Means of the 2x2 blocks of `[n, h, w, c]`."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


class _ResNet18(nnx.Module):
    def __init__(self, config: ResNetConfig, rngs: nnx.Rngs) -> None:
        width = inputs = config.width
        sizes = [4] * config.halvings or [3]
        ends = [config.channels] + [width] * len(sizes)
        self.stem = nnx.List(
            _Conv(a, b, size, rngs) for a, b, size in zip(ends, ends[1:], sizes, strict=False)
        )
        self.blocks = nnx.List()
        for factor in STAGES:
            for first in (True, False):
                outputs = factor * width
                self.blocks.append(_Block(inputs, outputs, first and factor > 1, rngs))
                inputs = outputs
        self.dropout = nnx.Dropout(config.dropout)
        self.last = nnx.Linear(inputs, config.classes, rngs=rngs)

    def __call__(self, images: jax.Array, key: jax.Array | None = None) -> Prediction:
        rngs = None if key is None else nnx.Rngs(dropout=key)
        first, *more = self.stem
        x = first(4.0 * images - 2.0)
        for layer in more:
            x = layer(_relu(x))
        for block in self.blocks:
            x = block(x)
        features = nnx.relu(x).mean((1, 2))
        dropped = self.dropout(features, deterministic=rngs is None, rngs=rngs)
        return Prediction(logits=self.last(dropped), features=features)


def resnet18(config: ResNetConfig | None = None) -> Classifier:
    """A stem, four stages of two residual blocks, and a global mean.

    It differs from the original in four points: standardized kernels in place of batch norm, ReLUs
    before the convolutions, 4x4 kernels if a layer halves the image, and a mean over 2x2 pixels in
    the shortcut of such a layer.

    Args:
        config: Its settings; the default is `ResNetConfig()`. Equal configs give one and the same
            classifier, so that compiled programs are found again.

    Returns:
        A `Classifier` of images whose sides are multiples of 2^(halvings + 3). Its features are the
        channels of the last stage averaged over the image, 8 `width` of them.

    Example:
        >>> judge = resnet18(ResNetConfig(classes=2, width=2))
        >>> params = jax.eval_shape(judge.init, jax.random.key(0))
        >>> jax.eval_shape(judge.apply, params, jnp.zeros((5, 16, 16, 3))).features.shape
        (5, 16)

    References:
        He et al., `Deep Residual Learning <https://arxiv.org/abs/1512.03385>`_, 2015. Brock et al.,
        `Normalizer-free ResNets <https://arxiv.org/abs/2101.08692>`_, 2021.
    """
    return _build(config or ResNetConfig())


@lru_cache
def _build(config: ResNetConfig) -> Classifier:
    init, module = functional(lambda rngs: _ResNet18(config, rngs))

    def checked(images: jax.Array) -> jax.Array:
        multiple = 2 ** (config.halvings + len(STAGES) - 1)
        if images.shape[-1] != config.channels or any(
            side % multiple for side in images.shape[1:3]
        ):
            raise ValueError(
                f"images must be [n, height, width, {config.channels}] with sides that are "
                f"multiples of {multiple}, got {list(images.shape)}; change channels or halvings "
                "of ResNetConfig, or load the images with another image_size"
            )
        return scale_images(images)

    def apply(params: dict, images: jax.Array) -> Prediction:
        return module(params)(checked(images))

    def train_apply(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
        augment_key, dropout_key = jax.random.split(key)
        images = augment(checked(images), augment_key, shift=config.shift, mirror=config.mirror)
        return module(params)(images, dropout_key).logits

    name = f"ResNet18-{config.width}, {STAGES[-1] * config.width} penultimate features"
    return Classifier(init, apply, name, train_apply)


def augment(images: jax.Array, key: jax.Array, *, shift: int, mirror: bool) -> jax.Array:
    """Mirrors each image with probability 1/2 if `mirror`, and moves it by up to `shift` pixels.

    Offsets are uniform over -shift..shift in rows and in columns. Border pixels are repeated where
    the image moved away.

    Args:
        images: `[n, height, width, channels]`.
        key: A PRNG key.
        shift: Largest offset.
        mirror: Whether to mirror.

    Returns:
        The images, of the same shape.
    """
    mirror_key, shift_key = jax.random.split(key)
    if mirror:
        mirrored = jax.random.bernoulli(mirror_key, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if shift:
        border = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        offsets = jax.random.randint(shift_key, (len(images), 2), 0, 2 * shift + 1)
        shape = images.shape[1:]

        def window(padded: jax.Array, offset: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(padded, (*offset, 0), shape)

        images = jax.vmap(window)(jnp.pad(images, border, mode="edge"), offsets)
    return images
