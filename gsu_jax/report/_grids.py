"""Draws sample images as one picture."""

import io
import math
import os
from typing import Any

import numpy as np

from gsu_jax.checks import at_least
from gsu_jax.storage import write_whole

# A non-finite pixel must be visible: a diverged decoder is not a black image.
NOT_A_NUMBER = np.array([204, 51, 51], np.uint8)
TILE = 56


def image_grid(
    images: Any, columns: int = 10, *, scale: int | None = None, gap: int = 2, background: int = 255
) -> np.ndarray:
    """Places images side by side, row by row.

    Args:
        images: `[n, height, width, channels]` with 1 or 3 channels, uint8 or float in [0, 1].
            Values outside are clipped, non-finite pixels are red.
        columns: The number of images in a row, at most.
        scale: The magnification. None magnifies small images to about 56 pixels (8x8 seven times,
            28x28 twice) and leaves larger images unchanged.
        gap: The distance between images in pixels.
        background: The gray value, 0 to 255, of gaps and of places after the last image.

    Returns:
        uint8 `[height, width, 3]`.

    Raises:
        TypeError: The images are neither uint8 nor floating.
        ValueError: `images` has another shape, or `columns` or `scale` is below 1.

    Example:
        >>> image_grid(np.zeros((5, 8, 8, 1)), columns=3, scale=1, gap=2).shape
        (18, 28, 3)
    """
    tiles = _as_rgb(images)
    n, height, width, _ = tiles.shape
    if scale is None:
        scale = max(1, round(TILE / max(height, width)))
    at_least(1, columns=columns, scale=scale)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    grid = np.full(shape, background, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return grid


def save_grid(
    path: str | os.PathLike,
    images: Any,
    *,
    columns: int = 10,
    scale: int | None = None,
    private: bool = False,
) -> None:
    """Writes `image_grid(images, columns, scale=scale)` atomically as a PNG file.

    Its owner alone may read a `private` one.
    """
    write_whole(path, png(image_grid(images, columns, scale=scale)), private=private)


def png(grid: np.ndarray) -> bytes:
    """Encodes a uint8 picture `[height, width]` or `[height, width, 3]` as PNG."""
    from PIL import Image

    if grid.ndim == 3 and (grid == grid[..., :1]).all():
        grid = grid[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grid)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _as_rgb(images: Any) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            "images must be [n, height, width, channels] with n > 0 and 1 or 3 channels, got shape "
            f"{images.shape}"
        )
    if images.dtype != np.uint8:
        # bfloat16 is of kind V for NumPy and has a cast to float32 all the same.
        if images.dtype.kind not in "fV":
            raise TypeError(f"images must be uint8 or floating in [0, 1], got {images.dtype}")
        values = images.astype(np.float32)
        finite = np.isfinite(values)
        values = np.where(finite, values, 0)
        images = np.round(values.clip(0, 1) * 255).astype(np.uint8)
        images = np.broadcast_to(images, (*images.shape[:3], 3))
        return np.where(finite.all(axis=-1, keepdims=True), images, NOT_A_NUMBER)
    return np.broadcast_to(images, (*images.shape[:3], 3))
