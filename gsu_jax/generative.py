"""`GenerativeModel`: what the rest of the library needs to know of a model, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Params = Any


@dataclass(frozen=True)
class GenerativeModel:
    """A generative model as a record of pure functions of its parameters (any pytree).

    Images are NHWC, float in [0, 1] or uint8 (scaled on the device, see `scale_images`). The last
    four fields describe a latent variable model; a method that needs one of them and does not find
    it says so before it starts (`GenerativeModel.require`).

    Attributes:
      init: `init(key) -> params`.
      loss: `loss(params, images, key) -> scalar`, the training loss: a mean over images of one
        number each (for a VAE the negative ELBO in nats, its beta included).
      sample: `sample(params, key, n) -> images`, float in [0, 1], `n` a Python integer.
      encode: `encode(params, images) -> (mean, log_variance)` of q(z|x), each `[n, latent]`.
      decode: `decode(params, z) -> decoded`, the parameters of p(x|z).
      log_likelihood: `log_likelihood(decoded, images) -> [n]`, log p(x|z) in nats, float32.
      mean: `mean(decoded) -> images`, the mean of p(x|z), float in [0, 1].
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, jax.Array, jax.Array], jax.Array]
    sample: Callable[[Params, jax.Array, int], jax.Array]
    encode: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    decode: Callable[[Params, jax.Array], Any] | None = None
    log_likelihood: Callable[[Any, jax.Array], jax.Array] | None = None
    mean: Callable[[Any], jax.Array] | None = None

    def require(self, *fields: str, needed_by: str) -> None:
        """Raises ValueError naming the optional `fields` this model lacks and who needs them."""
        missing = [field for field in fields if getattr(self, field) is None]
        if missing:
            raise ValueError(
                f"{needed_by} needs a model with {', '.join(fields)}; this GenerativeModel has no "
                f"{', '.join(missing)}. Give GenerativeModel({missing[0]}=...), or choose a "
                "method that works from the loss alone, such as gradient_surgery."
            )


def scale_images(images: jax.Array) -> jax.Array:
    """Images as floats in [0, 1]: uint8 is divided by 255, in float32; floats are left alone."""
    images = jnp.asarray(images)
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be uint8 or floating in [0, 1], found {images.dtype}.")
    return images


def check_images(name: str, images: Any) -> jax.Array | np.ndarray:
    """Returns `images` as an array, or says what is wrong with the argument `name`."""
    if not isinstance(images, jax.Array):
        images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"{name} must be images [n, height, width, channels], found shape {images.shape}."
        )
    if len(images) == 0:
        raise ValueError(f"{name} holds no images; there is nothing to {name}.")
    if images.dtype == np.uint8:
        return images
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"{name} must be uint8 or floating in [0, 1], found {images.dtype}.")
    low, high = float(images.min()), float(images.max())
    if not np.isfinite(low + high):
        raise ValueError(f"{name} must lie in [0, 1], found NaN or infinite values; drop them.")
    if low < 0.0 or high > 1.0:
        raise ValueError(
            f"{name} must lie in [0, 1], found values from {low:g} to {high:g}; divide by 255, or "
            "give uint8."
        )
    return images


def check_pair(forget: Any, retain: Any) -> None:
    """Raises ValueError where the images of both sets have not one shape."""
    if forget.shape[1:] != retain.shape[1:]:
        raise ValueError(
            f"forget and retain must hold images of one shape, found {forget.shape[1:]} and "
            f"{retain.shape[1:]}."
        )
