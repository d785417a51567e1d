"""Crops and resizes images."""

from typing import Any

import numpy as np

from gsu_jax.checks import import_extra


def resize_picture(picture: Any, image_size: int | None) -> Any:
    """Resizes the center square of a Pillow image to `image_size` x `image_size` pixels.

    If the side is a multiple of `image_size`, each pixel is the mean of a square (64 to 32: of
    2x2 pixels), which neither rings nor aliases. Otherwise the filter is Lanczos.
    """
    if image_size is None or picture.size == (image_size, image_size):
        return picture
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    if side % image_size == 0 and side > image_size:
        return picture.reduce(side // image_size, box)
    lanczos = import_extra("PIL.Image", "pillow", "image_size").Resampling.LANCZOS
    return picture.resize((image_size, image_size), lanczos, box=box)


def resize_images(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """Resizes NHWC images channel by channel with `resize_picture`; keeps dtype and range."""
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return images
    from_array = import_extra("PIL.Image", "pillow", "image_size").fromarray
    resized = np.empty((len(images), image_size, image_size, images.shape[3]), images.dtype)
    for image, out in zip(images, resized, strict=True):
        for channel in range(images.shape[3]):
            plane = from_array(np.ascontiguousarray(image[..., channel]))
            out[..., channel] = resize_picture(plane, image_size)
    # Lanczos overshoots at edges; Pillow clips 8-bit images itself.
    return resized if resized.dtype == np.uint8 else resized.clip(0, 1)
