"""The request for the training images that somebody hands in, matched by their content."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsu_jax.checks import import_extra, listing
from gsu_jax.data._dataset import Source
from gsu_jax.data._request import Request
from gsu_jax.data._resize import resize_picture
from gsu_jax.data.sources._folder import SUFFIXES


@dataclass(frozen=True)
class ForgetFolder(Request):
    """Forget the training images that are in a folder, whatever their names there.

    An image matches if all its pixels are equal, after the crop and the resize of the source. All
    copies of it among the training images are forgotten. An image that was saved anew with losses
    matches nothing.

    Attributes:
        folder: A folder with images, in subfolders or not.

    Raises:
        TypeError: `folder` is no path.
        ValueError: `folder` does not exist or has no image. (`split` refuses an image that no
            training image equals.)
    """

    folder: str | os.PathLike

    def __post_init__(self):
        if not isinstance(self.folder, str | os.PathLike):
            raise TypeError(f"forget: folder must be a path, got {self.folder!r}")
        if not Path(self.folder).is_dir():
            raise ValueError(f"forget: folder {self.folder} does not exist, or is no folder")
        if not self.files():
            raise ValueError(
                f"forget: folder {self.folder} has no image; expected files that end in "
                f"{', '.join(SUFFIXES)}"
            )

    def files(self) -> list[Path]:
        """Returns the images of the folder."""
        found = sorted(Path(self.folder).rglob("*"))
        return [path for path in found if path.suffix.lower() in SUFFIXES and path.name[0] != "."]

    def describe(self, source: Source) -> str:
        """Returns "3 listed images", the number of training images that are in the folder."""
        count = len(self.indices(source))
        return f"{count:,} listed image{'s' if count > 1 else ''}"

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training images to forget, and that no test image is."""
        train = np.zeros(len(source.train), bool)
        train[list(self.indices(source))] = True
        return train, np.zeros(len(source.test), bool)

    def indices(self, source: Source) -> tuple[int, ...]:
        """Returns the positions of these images in `source.train`, in order.

        Raises:
            ValueError: An image cannot be read, or no training image equals it.
        """
        positions = defaultdict(list)
        for i, image in enumerate(_as_bytes(source.train.images)):
            positions[_digest(image)].append(i)
        held_out = {_digest(image) for image in _as_bytes(source.test.images)}
        found, strange, tests = set(), [], []
        for path in self.files():
            digest = _digest(_read(path, source))
            if digest in positions:
                found.update(positions[digest])
            else:
                (tests if digest in held_out else strange).append(path.name)
        if strange:
            raise ValueError(
                f"forget: {len(strange)} of the {len(self.files())} images of {self.folder} equal "
                f"no training image of {source.name}: {listing(strange)}. All pixels must be "
                "equal; an image that was saved anew with losses is another one"
            )
        if tests:
            raise ValueError(
                f"forget: {listing(tests)} of {self.folder}: a test image of {source.name}, on "
                "which no model is trained; hand in training images"
            )
        return tuple(sorted(found))


def _as_bytes(images: np.ndarray) -> np.ndarray:
    return images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


def _read(path: Path, source: Source) -> np.ndarray:
    pillow = import_extra("PIL.Image", "pillow", "a folder of images")
    height, width, channels = source.image_shape
    try:
        with pillow.open(path) as picture:
            picture = picture.convert("L" if channels == 1 else "RGB")
    except OSError as error:
        raise ValueError(f"forget: {path} cannot be decoded ({error})") from error
    if height == width:
        picture = resize_picture(picture, height)
    if picture.size != (width, height):
        raise ValueError(
            f"forget: {path} has {picture.size[0]}x{picture.size[1]} pixels, and the images of "
            f"{source.name} {width}x{height}"
        )
    return np.asarray(picture).reshape(source.image_shape)
