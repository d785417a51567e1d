"""Crops and resizes images."""

from typing import Any

import numpy as np

from gsu_jax.checks import import_extra


def check_image_size(image_size: Any) -> None:
    """Raises ValueError unless `image_size` is None or a whole number of pixels above 0."""
    whole = isinstance(image_size, int | np.integer) and not isinstance(image_size, bool)
    if image_size is not None and not (whole and image_size > 0):
        raise ValueError(
            f"image_size must be a number of pixels such as 64, or None, found {image_size!r}."
        )


def resize_picture(picture: Any, image_size: int | None) -> Any:
    """The centre square of a Pillow image at `image_size` x `image_size` pixels.

    A whole multiple becomes the means of its squares of pixels (64 to 32: of 2x2), which neither
    ring nor alias; anything else goes through Lanczos.
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
    """NHWC images through `resize_picture`, one channel at a time; dtype and range are kept."""
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
