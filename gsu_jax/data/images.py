"""What an image array must look like, and the one way in which images are resized."""

from typing import Any

import numpy as np

from gsu_jax.data.extras import import_extra

MOST_CHANNELS = 4


def check_images(images: Any, argument: str = "images") -> None:
    """Raises where `images` are not NHWC in uint8 or in float32 between 0 and 1.

    Raises:
      TypeError: not a NumPy array, or of another dtype.
      ValueError: another rank, no pixels, more than four channels (NCHW?), NaN, outside [0, 1].
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(
            f"{argument} must be a numpy array [n, height, width, channels], "
            f"found {type(images).__name__}."
        )
    if images.dtype not in (np.uint8, np.float32):
        fix = "float32" if images.dtype.kind == "f" else "uint8"
        raise TypeError(
            f"{argument} must be uint8 in 0..255 or float32 in [0, 1], found {images.dtype}. "
            f"Convert them with images.astype(np.{fix})."
        )
    if images.ndim != 4:
        raise ValueError(
            f"{argument} must have four axes [n, height, width, channels], found shape "
            f"{images.shape}. Gray images need a last axis of 1: images[..., None]."
        )
    if 0 in images.shape[1:]:
        raise ValueError(f"{argument} must have pixels, found shape {images.shape}.")
    if images.shape[3] > MOST_CHANNELS:
        raise ValueError(
            f"{argument} must be [n, height, width, channels] with 1 to {MOST_CHANNELS} channels, "
            f"found shape {images.shape}. From [n, channels, height, width]: "
            "images.transpose(0, 2, 3, 1)."
        )
    if images.dtype == np.float32 and len(images):
        low, high = images.min(), images.max()
        if np.isnan(low) or np.isnan(high):
            bad = int(np.isnan(images).any(axis=(1, 2, 3)).sum())
            raise ValueError(f"{argument} must be finite, found NaN in {bad} of {len(images)}.")
        if low < 0 or high > 1:
            raise ValueError(
                f"{argument} must lie in [0, 1] where they are float, found {low:g} to {high:g}. "
                "Scale them, for example images / 255."
            )


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
