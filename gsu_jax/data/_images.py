"""Checks and scales images."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


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
