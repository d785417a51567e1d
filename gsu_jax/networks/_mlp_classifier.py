"""A small judge of linear layers: of another kind than the convolutional ones, and cheap."""

from functools import lru_cache
from itertools import pairwise
from math import prod

import jax
from flax import nnx

from gsu_jax.data import scale_images
from gsu_jax.models import Classifier, MLPClassifierConfig, Prediction
from gsu_jax.networks._functional import functional


class _MLPClassifier(nnx.Module):
    def __init__(self, config: MLPClassifierConfig, rngs: nnx.Rngs) -> None:
        sizes = (prod(config.image_shape), *config.widths)
        self.hidden = nnx.List(nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes))
        self.last = nnx.Linear(sizes[-1], config.classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> Prediction:
        x = images.reshape(len(images), -1)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return Prediction(logits=self.last(x), features=x)


@lru_cache
def mlp_classifier(config: MLPClassifierConfig) -> Classifier:
    """Linear layers with ReLU between them: 784-256-32-classes by default.

    It shares no convolution with `allcnn` and `resnet18`, so that it errs on other images: a second
    judge beside one of them.

    Args:
        config: Its settings. Equal configs give one and the same classifier, so that compiled
            programs are found again.

    Returns:
        A `Classifier`. Its features are the units of the last hidden layer.

    Example:
        >>> judge = mlp_classifier(MLPClassifierConfig((8, 8, 1), classes=3, widths=(4,)))
        >>> params = jax.eval_shape(judge.init, jax.random.key(0))
        >>> jax.eval_shape(judge.apply, params, jax.numpy.zeros((5, 8, 8, 1))).features.shape
        (5, 4)
    """
    init, module = functional(lambda rngs: _MLPClassifier(config, rngs))

    def apply(params: dict, images: jax.Array) -> Prediction:
        if images.shape[1:] != config.image_shape:
            raise ValueError(
                f"images must be [n, {', '.join(map(str, config.image_shape))}] for this judge, "
                f"got {list(images.shape)}"
            )
        return module(params)(scale_images(images))

    widths = "-".join(map(str, config.widths))
    return Classifier(init, apply, f"MLP-{widths}, {config.widths[-1]} penultimate features")
