"""A judge's predictions on images and on a model's samples, in compiled batches."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import scale_images
from gsu_jax.metrics._batching import padded_batches
from gsu_jax.models import Classifier, GenerativeModel, Prediction


class Judged(NamedTuple):
    """A model's samples as a judge sees them.

    Attributes:
        finite: whether images, logits and features are all finite.
        least, largest: of the values of the images.
        predictions: of the judge.
    """

    finite: bool
    least: float
    largest: float
    predictions: Prediction


def judge_predictions(
    judge: Classifier, judge_params: Any, images: np.ndarray, *, batch_size: int = 1000
) -> Prediction:
    """The judge's logits and features of images.

    One compilation serves any n above `batch_size`. The host waits for the device once, at the end.

    Args:
        judge: The classifier.
        judge_params: Its parameters.
        images: `[n, height, width, channels]`, uint8 or floating in [0, 1].
        batch_size: Images at a time.

    Returns:
        Logits `[n, classes]` and features `[n, d]`, NumPy float32.

    Raises:
        ValueError: There are no images.

    Example:
        >>> def apply(params, images):
        ...     x = images.reshape(len(images), -1)
        ...     return Prediction(logits=x @ params, features=x)
        >>> judge = Classifier(init=None, apply=apply, features="two pixels")
        >>> images = np.ones((3, 1, 2, 1), np.float32)
        >>> judge_predictions(judge, np.eye(2), images).logits.shape
        (3, 2)
    """
    batches = [
        _judge_batch(judge, judge_params, batch) for _, batch in padded_batches(images, batch_size)
    ]
    return _joined(jax.device_get(batches), len(images))


def draw_samples(
    model: GenerativeModel, params: Any, key: jax.Array, samples: int, *, batch_size: int = 1000
) -> Iterator[jax.Array]:
    """Yields the samples that `evaluate` draws with this key: batches `[batch_size, h, w, c]`.

    The last batch is full too; cut it to `samples`. A list of them serves several judges.

    Args:
        model: The generative model.
        params: Its parameters.
        key: A PRNG key, as given to `evaluate`.
        samples: Images to draw.
        batch_size: Images at a time.

    Example:
        >>> def sample(params, key, n):
        ...     return params * jax.random.uniform(key, (n, 2, 2, 1))
        >>> model = GenerativeModel(init=None, loss=None, sample=sample)
        >>> batches = draw_samples(model, 1.0, jax.random.key(0), 5, batch_size=4)
        >>> [len(batch) for batch in batches]
        [4, 4]
    """
    key, _ = jax.random.split(key)  # the other one is that of the ELBO
    size = min(batch_size, samples)
    for start in range(0, samples, size):
        yield _sample_batch(model, params, jax.random.fold_in(key, start), size)


def judge_samples(
    judge: Classifier, judge_params: Any, drawn: Iterable[jax.Array], samples: int
) -> Judged:
    """Judges the first `samples` images of `drawn`, batches of one size.

    The images stay on the device. One compilation serves each judge and batch size.
    """
    # Nothing waits for the device until all batches are queued.
    batches = [_judge_drawn(judge, judge_params, images) for images in drawn]
    finite, least, largest, predictions = zip(*jax.device_get(batches), strict=True)
    logits, features = _joined(predictions, samples)
    all_finite = all(finite) and np.isfinite(logits).all() and np.isfinite(features).all()
    bounds = float(min(least)), float(max(largest))
    return Judged(bool(all_finite), *bounds, Prediction(logits, features))


@partial(jax.jit, static_argnames=("model", "size"))
def _sample_batch(model, params, key, size):
    return scale_images(model.sample(params, key, size))


@partial(jax.jit, static_argnames="judge")
def _judge_drawn(judge, judge_params, images):
    finite = jnp.isfinite(images).all()
    return finite, images.min(), images.max(), _predict(judge, judge_params, images)


@partial(jax.jit, static_argnames="judge")
def _judge_batch(judge, judge_params, images):
    return _predict(judge, judge_params, images)


def _predict(judge, judge_params, images):
    found = judge.apply(judge_params, scale_images(images))
    if not (isinstance(found, tuple) and len(found) == 2):
        raise TypeError(
            f"judge.apply must return Prediction(logits, features), got {type(found).__name__}; "
            "a judge without features of its own may give its logits for both"
        )
    logits, features = found
    return Prediction(logits.astype(jnp.float32), features.astype(jnp.float32))


def _joined(predictions, n):
    return Prediction(*(np.concatenate(parts)[:n] for parts in zip(*predictions, strict=True)))
