"""What is measured of one model: evidence of images, utility, and the share of samples."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import bdtrc, ndtr, ndtri, softmax

from gsu_jax.audit import Line, clopper_pearson
from gsu_jax.data import Dataset, Source, scale_examples
from gsu_jax.methods import Retrain
from gsu_jax.metrics import (
    Count,
    JudgeErrors,
    corrected_share,
    decoder_evidence,
    judge_predictions,
    negative_elbo,
)
from gsu_jax.models import Classifier, GenerativeModel, MLPClassifierConfig, Params
from gsu_jax.networks import mlp_classifier
from gsu_jax.unlearning import unlearn

SEED = 20
SCORED = ("encode", "decode", "log_likelihood")  # what phi needs
BATCH = 1000  # samples at a time


def noise() -> jax.Array:
    """The key of all draws: the same for all models, so that differences are not those of draws."""
    return jax.random.key(SEED)


def evidence(model: GenerativeModel, params: Params, images: np.ndarray) -> np.ndarray:
    """How well a model describes each image, `[n]` in nats; larger is better.

    That is phi of `decoder_evidence` if the model has what it needs, else its bound, else minus its
    loss on the image.
    """
    if model.has(*SCORED):
        return decoder_evidence(model, params, images, noise(), samples=128, steps=100).phi
    return -bound(model, params, images)


def bound(model: GenerativeModel, params: Params, images: np.ndarray) -> np.ndarray:
    """The negative ELBO of each image, `[n]` in nats, or the loss on it of a model without one."""
    if model.elbo or model.has(*SCORED):
        return negative_elbo(model, params, images, noise())
    return np.asarray(_losses(model, params, images), np.float64)


@partial(jax.jit, static_argnames="model")
def _losses(model: GenerativeModel, params: Params, images: Any) -> jax.Array:
    keys = jax.random.split(noise(), len(images))
    return jax.lax.map(
        lambda one: model.loss(params, scale_examples(one[0][None]), one[1]), (images, keys)
    )


@contextmanager
def without_warnings() -> Iterator[None]:
    """Hides what `unlearn` says of a run that is cut off, or that serves a comparison alone."""
    log = logging.getLogger("gsu_jax.unlearning")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class NotApplicable(ValueError):
    """A line that cannot be run here, and why."""


Said = tuple[Line, str]  # a line, and its numbers in words


class Figure(NamedTuple):
    """One figure of the released model and of models whose verdict is known.

    Attributes:
        released: Of the new checkpoint.
        retrained, original, fine_tuned: Of the models of each kind.
    """

    released: float
    retrained: np.ndarray
    original: np.ndarray
    fine_tuned: np.ndarray


class Utility(NamedTuple):
    """By which share the bound of held-out retained images got worse.

    Attributes:
        increase: Mean difference of the bounds over the size of the mean bound before.
        low, high: Its 95 % interval over images.
        n: Images.
    """

    increase: float
    low: float
    high: float
    n: int


def utility(model: GenerativeModel, before: Params, after: Params, images: np.ndarray) -> Utility:
    """Compares two models on the same images with the same noise; not finite is infinitely worse.

    Raises:
        ValueError: There are fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(
            "utility_budget needs held-out retained images, and the data has "
            f"{len(images)}; load data with test images"
        )
    old, new = (bound(model, params, images) for params in (before, after))
    scale, difference = abs(old.mean()), new - old
    if not np.isfinite(difference).all():
        return Utility(math.inf, math.inf, math.inf, len(images))
    mean = difference.mean() / scale
    error = 1.96 * difference.std(ddof=1) / math.sqrt(len(images)) / scale
    return Utility(float(mean), float(mean - error), float(mean + error), len(images))


def budget_power(found: Utility, budget: float) -> float:
    """The chance that the interval of an unchanged model ends below the budget."""
    error = max((found.high - found.low) / (2 * 1.96), 1e-12)
    return float(ndtr(budget / error - ndtri(0.975))) if math.isfinite(error) else 1.0


class Judge(NamedTuple):
    """A classifier that was trained on the training images, and its errors on held-out ones.

    Attributes:
        classifier: The network.
        params: Its parameters.
        classes: The numbers of the forgotten classes.
        errors: `None` if the held-out images lack one of the groups.
    """

    classifier: Classifier
    params: Params
    classes: tuple[int, ...]
    errors: JudgeErrors | None

    def hits(self, model: GenerativeModel, params: Params, samples: int) -> Count:
        """How many of so many samples show what is to be forgotten."""
        parts = self._drawn(model, params, samples)
        return Count(sum(self._found(images) for images in parts), samples)

    def log_share(self, model: GenerativeModel, params: Params, samples: int) -> float:
        """The logarithm of their mean probability of what is to be forgotten.

        Half a sample is added, which is what so many cannot tell from none.

        Raises:
            NotApplicable: The samples are not finite.
        """
        total = sum(self._probability(images) for images in self._drawn(model, params, samples))
        if not math.isfinite(total):
            raise NotApplicable("the samples are not finite")
        return math.log((total + 0.5) / samples)

    def _drawn(self, model: GenerativeModel, params: Params, samples: int) -> Iterator[np.ndarray]:
        for number, start in enumerate(range(0, samples, BATCH)):
            drawn = _draw(model, params, jax.random.fold_in(noise(), number), BATCH)
            yield np.asarray(drawn)[: samples - start]

    def features(self, model: GenerativeModel, params: Params, samples: int) -> np.ndarray:
        """Features of samples, `[samples, d]`; of other draws than `hits`."""
        drawn = _draw(model, params, jax.random.fold_in(noise(), 10**6), samples)
        found = judge_predictions(self.classifier, self.params, np.asarray(drawn))
        return np.asarray(found.features)

    def _found(self, images: np.ndarray) -> int:
        logits = judge_predictions(self.classifier, self.params, images).logits
        return int(np.isin(logits.argmax(1), self.classes).sum())

    def _probability(self, images: np.ndarray) -> float:
        logits = judge_predictions(self.classifier, self.params, images).logits
        chances = softmax(np.float64(logits), axis=1)
        return float(chances[:, list(self.classes)].sum())

    def with_errors(self, test: Dataset, forgotten: np.ndarray) -> "Judge":
        """The same judge, whose errors were counted on held-out images."""
        groups = test.images[forgotten], test.images[~forgotten]
        if not all(map(len, groups)):
            return self
        counts = (Count(self._found(images), len(images)) for images in groups)
        return self._replace(errors=JudgeErrors(*counts))


@partial(jax.jit, static_argnames=("model", "n"))
def _draw(model: GenerativeModel, params: Params, key: jax.Array, n: int) -> jax.Array:
    return model.sample(params, key, n)


def judge_network(source: Source, attribute: str) -> Classifier:
    """The network of the judge: it has a class for each of the attribute."""
    return mlp_classifier(
        MLPClassifierConfig(source.image_shape, classes=len(source.classes[attribute]))
    )


def train_judge(source: Source, attribute: str) -> Params:
    """Trains the judge on all training images. It takes part in no method."""
    network = judge_network(source, attribute)
    labels = source.train.attributes[attribute].astype(np.int32)
    examples = {"image": source.train.images, "label": labels}
    as_model = GenerativeModel(
        network.init,
        lambda params, batch, key: network.loss(params, (batch["image"], batch["label"]), key),
        sample=lambda params, key, n: params,
    )
    steps = -(-len(labels) // 128)
    blank = jax.tree.map(lambda x: np.zeros_like(x[:1]), examples)
    key = jax.random.key(21)
    return unlearn(
        as_model, network.init(key), blank, examples,
        method=Retrain(), key=key, epochs=max(1, -(-600 // steps)),
    ).params  # fmt: skip


def chance_to_find(n: int, share: float, found: Any) -> float:
    """The chance that a count of n, binomial with `share`, reaches the least k with `found(k)`."""
    if not found(n):
        return 0.0
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle + 1, high)
    return float(bdtrc(low - 1, n, share)) if low else 1.0


def most_share(count: Count, errors: JudgeErrors) -> float:
    """Upper end of the share that shows a class, as if the judge raised no false alarm."""
    upper = clopper_pearson(*count).high * errors.hits.n / max(errors.hits.found, 1)
    return min(1.0, max(upper, corrected_share(count, errors).high))


def share_power(count: Count, errors: JudgeErrors, goal: float) -> float:
    """The chance that `most_share` of a model that draws none is at most the goal.

    It raises false alarms as the judge does on held-out images, or as few as it did on the samples.
    """
    alarms = min(count.found / count.n, errors.false_alarms.found / errors.false_alarms.n)
    return 1 - chance_to_find(
        count.n, alarms, lambda k: most_share(Count(k, count.n), errors) > goal
    )
