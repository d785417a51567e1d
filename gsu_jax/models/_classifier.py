"""The record of pure functions that the library needs to know of a classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Prediction(NamedTuple):
    """Output of a classifier.

    Attributes:
        logits: `[n, classes]`.
        features: `[n, width]`, the penultimate layer.
    """

    logits: jax.Array
    features: jax.Array


@dataclass(frozen=True)
class Classifier:
    """A classifier as a record of pure functions of its parameters, which are any pytree.

    It serves as a judge of samples, or as a guide of a method.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, images) -> Prediction`, deterministic; images as in `GenerativeModel`.
        features: Name of the features, which reports print beside each Frechet distance.
        train_apply: `train_apply(params, images, key) -> logits`, with the noise of training
            (dropout, augmentation). None means `apply`.
        name: The name that results.json records for a judge of one's own in a study.

    Example:
        >>> linear = Classifier(
        ...     init=None, apply=lambda params, x: Prediction(x @ params, x), features="pixels"
        ... )
        >>> batch = jnp.ones((1, 2)), jnp.array([0])
        >>> round(float(linear.loss(jnp.zeros((2, 2)), batch, jax.random.key(0))), 4)
        0.6931
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], Prediction]
    features: str
    train_apply: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None
    name: str | None = None

    def loss(self, params: Any, batch: tuple[jax.Array, jax.Array], key: jax.Array) -> jax.Array:
        """Mean cross-entropy of a batch, in nats.

        Args:
            params: The parameters.
            batch: Images and integer labels.
            key: A PRNG key, for `train_apply`.
        """
        images, labels = batch
        if self.train_apply is None:
            logits = self.apply(params, images).logits
        else:
            logits = self.train_apply(params, images, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
        return losses.mean()
