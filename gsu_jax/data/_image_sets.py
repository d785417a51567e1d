"""Sets of images whose number is no part of a program's shapes: other sizes compile nothing."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data._images import scale_images

Count = jax.Array | int


class ImageSet(NamedTuple):
    """The images in rows `first` to `first + count - 1` of an array that has more of them.

    `first` and `count` may be traced: a program that takes a set serves every set of that array.

    Attributes:
      rows: `[capacity, h, w, c]`, uint8 or float in [0, 1].
      first: the row of the first image.
      count: how many there are, at least one.
    """

    rows: jax.Array
    first: Count
    count: Count

    @classmethod
    def of(cls, images: "ImageSet | jax.Array | np.ndarray") -> Self:
        """All images of an array as a set; a set as it is."""
        if isinstance(images, cls):
            return images
        return cls(jnp.asarray(images), 0, len(images))

    @property
    def capacity(self) -> int:
        """A bound of `count` that is no tracer."""
        return self.rows.shape[0]

    def take(self, places: jax.Array) -> jax.Array:
        """The images at `places`, from 0 to count - 1."""
        return self.rows[self.first + places]

    def draw(self, key: jax.Array, at_most: int) -> "ImageSet":
        """So many images drawn without replacement; all of them in a random order if fewer."""
        places = random_order(key, self.count, self.capacity)[:at_most]
        return ImageSet(self.take(places), 0, jnp.minimum(at_most, self.count))

    def parts(self, size: int) -> tuple[Count, int]:
        """How many parts of `size` images cover the set, and that size, less in a small array."""
        size = min(size, self.capacity)
        return -(-self.count // size), size

    def part(self, number: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
        """Part `number` of `size` images, and a mask that is 0 where the last one is filled up."""
        places = number * size + jnp.arange(size)
        return self.take(places % self.count), (places < self.count).astype(jnp.float32)


class ForgetRetainSets(NamedTuple):
    """Forgotten images and retained ones in one array, padded: one shape for every division.

    Attributes:
      rows: `[capacity, h, w, c]`: the forgotten images, then the retained, then zeros.
      n_forget: how many are to be forgotten.
      n_retain: how many are retained.
    """

    rows: jax.Array | np.ndarray
    n_forget: Count
    n_retain: Count

    @property
    def forget(self) -> ImageSet:
        """The images to be forgotten."""
        return ImageSet(self.rows, 0, self.n_forget)

    @property
    def retain(self) -> ImageSet:
        """The images to be retained."""
        return ImageSet(self.rows, self.n_forget, self.n_retain)


def concatenate(
    forget: jax.Array | np.ndarray, retain: jax.Array | np.ndarray, multiple: int = 1
) -> ForgetRetainSets:
    """Both sets in one host array whose rows are a multiple of `multiple`, by `capacity`.

    One of uint8 and one of floats become float32 in [0, 1].
    """
    if forget.dtype != retain.dtype:
        forget, retain = (scale_images(images).astype(jnp.float32) for images in (forget, retain))
    total = len(forget) + len(retain)
    rows = -(-padded_size(total) // multiple) * multiple
    padding = np.zeros((rows - total, *forget.shape[1:]), forget.dtype)
    joined = np.concatenate([np.asarray(forget), np.asarray(retain), padding])
    return ForgetRetainSets(joined, len(forget), len(retain))


def padded_size(images: int) -> int:
    """Room for so many images: at most an eighth more, eight sizes for each doubling."""
    step = max(1, 2 ** (images.bit_length() - 4))
    return -(-images // step) * step


def random_order(key: jax.Array, count: Count, room: int) -> jax.Array:
    """`[room]`: the numbers below `count` in a random order, then the others."""
    place = jnp.arange(room)
    bits = jax.random.bits(key, (room,))
    return jax.lax.sort((place >= count, bits, place), num_keys=2)[-1]
