"""The paper's MNIST judge: an all-convolutional network (Springenberg et al. 2014, All-CNN-C)."""

from functools import lru_cache

import jax
import jax.numpy as jnp
from flax import nnx

from gsu_jax.data import scale_images
from gsu_jax.models import AllCNNConfig, Classifier, Prediction
from gsu_jax.networks._convolution import convolve
from gsu_jax.networks._functional import functional

# On a CPU this many images pass through the network at a time: their patches fit in its cache.
GROUP = 8


class _Conv(nnx.Module):
    """A convolution of images `[channels, height, width, n]`, with a bias."""

    def __init__(
        self, inputs: int, outputs: int, size: int, rngs: nnx.Rngs, stride: int = 1
    ) -> None:
        init = nnx.initializers.he_normal()
        self.kernel = nnx.Param(init(rngs.params(), (size, size, inputs, outputs)))
        self.bias = nnx.Param(nnx.initializers.zeros_init()(rngs.params(), (outputs,)))
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        return convolve(x, self.kernel[...], self.stride) + self.bias[...][:, None, None, None]


class _AllCNN(nnx.Module):
    def __init__(self, config: AllCNNConfig, rngs: nnx.Rngs) -> None:
        narrow, wide = config.widths

        def stack(inputs: int, width: int) -> nnx.List:
            return nnx.List(
                [
                    _Conv(inputs, width, 3, rngs),
                    _Conv(width, width, 3, rngs),
                    _Conv(width, width, 3, rngs, stride=2),
                ]
            )

        self.first = stack(config.channels, narrow)
        self.second = stack(narrow, wide)
        self.third = nnx.List([_Conv(wide, wide, 3, rngs), _Conv(wide, wide, 1, rngs)])
        self.last = _Conv(wide, config.classes, 1, rngs)
        self.widths, self.keep_rate = config.widths, 1 - config.dropout

    def __call__(self, images: jax.Array, key: jax.Array | None = None) -> Prediction:
        """Predictions on `[n, height, width, channels]`; a key turns dropout on."""
        kept = None if key is None or self.keep_rate == 1 else self.draw_kept(images.shape, key)
        size = min(GROUP, len(images)) if jax.default_backend() == "cpu" else len(images)
        count = -(-len(images) // size)

        def grouped(x: jax.Array) -> jax.Array:
            padding = [(0, count * size - len(x)), *[(0, 0)] * (x.ndim - 1)]
            return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])

        groups = jax.tree.map(grouped, (images.astype(jnp.float32), kept))
        found = jax.lax.map(lambda group: self.predict(*group), groups)
        return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1])[: len(images)], found)

    def draw_kept(self, shape: tuple[int, ...], key: jax.Array) -> list[jax.Array]:
        """The units that dropout keeps after each of the two strided convolutions."""
        n, height, width, _ = shape
        rngs = nnx.Rngs(dropout=key)
        return [
            jax.random.bernoulli(
                rngs.dropout(), self.keep_rate, (n, -(-height // by), -(-width // by), channels)
            )
            for by, channels in zip((2, 4), self.widths, strict=True)
        ]

    def predict(self, images: jax.Array, kept: list[jax.Array] | None) -> Prediction:
        """Predictions on one group of images."""
        x = images.transpose(3, 1, 2, 0)
        for number, stack in enumerate((self.first, self.second)):
            for layer in stack:
                x = nnx.relu(layer(x))
            if kept is not None:
                x = jnp.where(kept[number].transpose(3, 1, 2, 0), x / self.keep_rate, 0.0)
        for layer in self.third:
            x = nnx.relu(layer(x))
        return Prediction(logits=self.last(x).mean((1, 2)).T, features=x.mean((1, 2)).T)


@lru_cache
def allcnn(config: AllCNNConfig) -> Classifier:
    """Nine convolutions, two of them strided, and a global mean.

    Args:
        config: Its settings. Equal configs give one and the same classifier, so that compiled
            programs are found again.

    Returns:
        A `Classifier`. Its features are the channels of the last hidden layer averaged over the
        image, `widths[1]` of them.

    Example:
        >>> judge = allcnn(AllCNNConfig(classes=3, widths=(2, 4)))
        >>> params = jax.eval_shape(judge.init, jax.random.key(0))
        >>> jax.eval_shape(judge.apply, params, jnp.zeros((5, 8, 8, 1))).logits.shape
        (5, 3)

    References:
        Springenberg et al., `Striving for Simplicity <https://arxiv.org/abs/1412.6806>`_, 2014.
    """
    init, module = functional(lambda rngs: _AllCNN(config, rngs))

    def apply(params: dict, images: jax.Array) -> Prediction:
        return module(params)(scale_images(images))

    def train_apply(params: dict, images: jax.Array, key: jax.Array) -> jax.Array:
        return module(params)(scale_images(images), key).logits

    name = f"AllCNN-{config.widths[0]}-{config.widths[1]}, {config.widths[1]} penultimate features"
    return Classifier(init, apply, name, train_apply)
