"""Images that must not come back: which of a source they are, without keeping them."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import numpy as np

from gsu_jax.checks import choice
from gsu_jax.data._dataset import Source


@dataclass(frozen=True)
class Exclusions:
    """Salted commitments of images that were removed.

    An image has the commitment HMAC-SHA-256(salt, shape and 8-bit pixels), whatever its name, its
    place or its type. A resized image is another one. Who has the salt and an image can tell
    whether it was removed: keep exclusions where the training data are kept.

    Attributes:
        salt: 32 random bytes.
        commitments: 64 hexadecimal digits each.

    Example:
        >>> images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
        >>> exclusions = Exclusions.of(images[1:3])
        >>> exclusions.matches(images)
        array([False,  True,  True, False])
        >>> exclusions.matches(images / np.float32(255))
        array([False,  True,  True, False])
    """

    salt: bytes
    commitments: frozenset[str]

    def __post_init__(self):
        if not isinstance(self.salt, bytes) or len(self.salt) != 32:
            raise ValueError("salt must be 32 bytes, as secrets.token_bytes(32) returns them")

    @classmethod
    def of(cls, images: np.ndarray) -> "Exclusions":
        """Returns the exclusions of `images` `[n, height, width, channels]`, with a new salt."""
        return cls(secrets.token_bytes(32), frozenset()).add(images)

    def __repr__(self) -> str:
        return f"Exclusions({len(self)} images)"

    def __len__(self) -> int:
        return len(self.commitments)

    def add(self, images: np.ndarray) -> "Exclusions":
        """Returns these exclusions and those of `images`, with the same salt."""
        return Exclusions(self.salt, self.commitments | {*self._commit(images)})

    def matches(self, images: np.ndarray) -> np.ndarray:
        """Returns which of `images` `[n, height, width, channels]` are excluded, `[n]`."""
        return np.array([found in self.commitments for found in self._commit(images)], bool)

    def _commit(self, images: np.ndarray) -> list[str]:
        shape = "x".join(map(str, images.shape[1:])).encode()
        found = []
        for image in images:
            pixels = image if image.dtype == np.uint8 else np.rint(image * 255).astype(np.uint8)
            message = shape + b" " + np.ascontiguousarray(pixels).tobytes()
            found.append(hmac.new(self.salt, message, hashlib.sha256).hexdigest())
        return found


def exclude(source: Source, exclusions: Exclusions, *, found: str = "refuse") -> Source:
    """Returns `source` without excluded images, or refuses it.

    Call it between `load` and training, so that a backup that was restored, or data that were
    collected anew, do not bring back what was removed.

    Args:
        source: Training and test images.
        exclusions: The images that must not be in it.
        found: "refuse" raises where an image is excluded, "drop" leaves it out.

    Raises:
        TypeError: `exclusions` is none.
        ValueError: An image is excluded and `found` is "refuse", or no training image is left.

    Example:
        >>> from gsu_jax.data import load
        >>> digits = load("digits")
        >>> exclusions = Exclusions.of(digits.train.images[[3, 14]])
        >>> len(digits.train), len(exclude(digits, exclusions, found="drop").train)
        (1438, 1436)
    """
    choice(("refuse", "drop"), found=found)
    if not isinstance(exclusions, Exclusions):
        raise TypeError(
            f"exclusions must be Exclusions, as read_exclusions returns them, got {exclusions!r}"
        )
    train, test = (exclusions.matches(part.images) for part in (source.train, source.test))
    count = int(train.sum() + test.sum())
    if not count:
        return source
    if found == "refuse":
        raise ValueError(
            f"exclusions: {count} of the {len(train) + len(test):,} images of {source.name} were "
            'removed before and must not be trained on; remove them, or give found="drop"'
        )
    if train.all():
        raise ValueError(
            f"exclusions: all {len(train):,} training images of {source.name} were removed before"
        )

    kept = source.train.take(~train), source.test.take(~test)
    return Source(source.name, *kept, source.classes, source.label)
