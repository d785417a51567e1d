"""`Classifier`: a judge of samples, or a guide for a method, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Prediction(NamedTuple):
    """Output of a classifier: `logits` `[n, classes]`, penultimate `features` `[n, width]`."""

    logits: jax.Array
    features: jax.Array


@dataclass(frozen=True)
class Classifier:
    """A classifier as a record of pure functions of its parameters (any pytree).

    Attributes:
      init: `init(key) -> params`.
      apply: `apply(params, images) -> Prediction`, deterministic; images as in `GenerativeModel`.
      features: what the features are, printed beside every Frechet distance taken on them.
      train_apply: `train_apply(params, images, key) -> logits`, with the noise of training
        (dropout, augmentation); `apply` where there is none.
    """

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, jax.Array], Prediction]
    features: str
    train_apply: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None

    def loss(self, params: Any, batch: tuple[jax.Array, jax.Array], key: jax.Array) -> jax.Array:
        """Mean cross-entropy in nats of `batch = (images, integer labels)`."""
        images, labels = batch
        if self.train_apply is None:
            logits = self.apply(params, images).logits
        else:
            logits = self.train_apply(params, images, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
        return losses.mean()
