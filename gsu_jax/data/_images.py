"""Checks and scales images."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MOST_CHANNELS = 4  # of stored images: more are a sign of NCHW


def scale_images(images: jax.Array) -> jax.Array:
    """Scales images to floats in [0, 1]: uint8 is divided by 255 in float32, floats are kept.

    Raises:
        TypeError: The images are neither uint8 nor floating.

    Example:
        >>> scale_images(np.array([0, 255], np.uint8))
        Array([0., 1.], dtype=float32)
    """
    images = jnp.asarray(images)
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be uint8 or floating in [0, 1], got {images.dtype}")
    return images


def check_images(
    images: Any, argument: str, *, allow_empty: bool = False
) -> jax.Array | np.ndarray:
    """Returns `images` as an array after checking rank, dtype and range.

    Args:
        images: Anything that NumPy or JAX takes for `[n, height, width, channels]`.
        argument: The name of the argument, for errors.
        allow_empty: Whether n may be 0.

    Raises:
        TypeError: The dtype is neither uint8 nor floating.
        ValueError: The rank is not 4, there are no images, or floats lie outside [0, 1].
    """
    if not isinstance(images, jax.Array):
        images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(
            f"{argument} must have four axes [n, height, width, channels], got shape "
            f"{images.shape}. Gray images need a last axis of 1: images[..., None]"
        )
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"{argument} must be uint8 or floating in [0, 1], got {images.dtype}")
    if len(images) == 0 and not allow_empty:
        raise ValueError(f"{argument} is empty; expected at least one image")
    if images.dtype == np.uint8 or images.size == 0:
        return images
    low, high = float(images.min()), float(images.max())
    if not np.isfinite(low + high):
        raise ValueError(f"{argument} must lie in [0, 1], got NaN or infinity; drop those images")
    if low < 0.0 or high > 1.0:
        fix = (
            "Scale them by (images + 1) / 2" if -1.0 <= low < 0.0 and high <= 1.0
            else "Scale them, for example images / 255, or pass uint8"
        )  # fmt: skip
        raise ValueError(
            f"{argument} must lie in [0, 1], got values from {low:g} to {high:g}. {fix}. What is "
            'not such an image is passed in a dict, such as {"latent": array}'
        )
    return images


def check_stored_images(images: Any, argument: str = "images") -> None:
    """`check_images` for a `Dataset`: NumPy, uint8 or float32, 1 to 4 channels; may be empty."""
    if not isinstance(images, np.ndarray):
        raise TypeError(
            f"{argument} must be a numpy array [n, height, width, channels], "
            f"got {type(images).__name__}"
        )
    if images.dtype not in (np.uint8, np.float32):
        fix = "float32" if images.dtype.kind == "f" else "uint8"
        raise TypeError(
            f"{argument} must be uint8 in 0..255 or float32 in [0, 1], got {images.dtype}. "
            f"Convert them with images.astype(np.{fix})"
        )
    check_images(images, argument, allow_empty=True)
    if 0 in images.shape[1:] or images.shape[3] > MOST_CHANNELS:
        raise ValueError(
            f"{argument} must be [n, height, width, channels] with pixels and 1 to "
            f"{MOST_CHANNELS} channels, got shape {images.shape}. From [n, channels, height, "
            "width]: images.transpose(0, 2, 3, 1)"
        )
