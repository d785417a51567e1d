"""The paper's MNIST judge: an all-convolutional network (Springenberg et al. 2014, All-CNN-C)."""

from functools import lru_cache

import jax
from flax import nnx

from gsu_jax.data import scale_images
from gsu_jax.models import AllCNNConfig, Classifier, Prediction
from gsu_jax.networks._functional import functional
from gsu_jax.networks._patches import convolve


def _convolve(images: jax.Array, kernel: jax.Array, strides, padding, **unused) -> jax.Array:
    """`lax.conv_general_dilated` as `nnx.Conv` calls it, for the layers of this network."""
    del padding, unused  # SAME, and no dilation or groups
    return convolve(images, kernel, strides[0])


class _AllCNN(nnx.Module):
    def __init__(self, config: AllCNNConfig, rngs: nnx.Rngs) -> None:
        narrow, wide = config.widths

        def conv(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nnx.Conv:
            return nnx.Conv(
                channels_in,
                channels_out,
                (size, size),
                strides=stride,
                kernel_init=nnx.initializers.he_normal(),
                conv_general_dilated=_convolve,
                rngs=rngs,
            )

        self.first = nnx.List(
            [conv(config.channels, narrow, 3), conv(narrow, narrow, 3), conv(narrow, narrow, 3, 2)]
        )
        self.second = nnx.List([conv(narrow, wide, 3), conv(wide, wide, 3), conv(wide, wide, 3, 2)])
        self.third = nnx.List([conv(wide, wide, 3), conv(wide, wide, 1)])
        self.last = conv(wide, config.classes, 1)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> Prediction:
        rngs = None if key is None else nnx.Rngs(dropout=key)
        for stack in (self.first, self.second):
            for layer in stack:
                x = nnx.relu(layer(x))
            x = self.dropout(x, deterministic=rngs is None, rngs=rngs)
        for layer in self.third:
            x = nnx.relu(layer(x))
        return Prediction(logits=self.last(x).mean((1, 2)), features=x.mean((1, 2)))


@lru_cache
def allcnn(config: AllCNNConfig) -> Classifier:
    """Nine convolutions, two of them strided, and a global mean, as a `Classifier`.

    Its features are the last hidden layer's channels averaged over the image: `widths[1]` of them.
    """
    init, module = functional(lambda rngs: _AllCNN(config, rngs))

    def apply(params: dict, images: jax.Array) -> Prediction:
        return module(params)(scale_images(images))

    def train_apply(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
        return module(params)(scale_images(images), key).logits

    name = f"AllCNN-{config.widths[0]}-{config.widths[1]}, {config.widths[1]} penultimate features"
    return Classifier(init, apply, name, train_apply)
