"""Sets of images whose number is no part of a program's shapes: other sizes compile nothing."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.generative import GenerativeModel, Params, scale_images

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


class JoinedSets(NamedTuple):
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


def join(
    forget: jax.Array | np.ndarray, retain: jax.Array | np.ndarray, multiple: int = 1
) -> JoinedSets:
    """Both sets in one host array whose rows are a multiple of `multiple`, by `capacity`.

    One of uint8 and one of floats become float32 in [0, 1].
    """
    if forget.dtype != retain.dtype:
        forget, retain = (scale_images(images).astype(jnp.float32) for images in (forget, retain))
    total = len(forget) + len(retain)
    rows = -(-capacity(total) // multiple) * multiple
    padding = np.zeros((rows - total, *forget.shape[1:]), forget.dtype)
    joined = np.concatenate([np.asarray(forget), np.asarray(retain), padding])
    return JoinedSets(joined, len(forget), len(retain))


def capacity(images: int) -> int:
    """Room for so many images: at most an eighth more, eight sizes for each doubling."""
    step = max(1, 2 ** (images.bit_length() - 4))
    return -(-images // step) * step


def random_order(key: jax.Array, count: Count, room: int) -> jax.Array:
    """`[room]`: the numbers below `count` in a random order, then the others."""
    place = jnp.arange(room)
    bits = jax.random.bits(key, (room,))
    return jax.lax.sort((place >= count, bits, place), num_keys=2)[-1]


def encode_in_parts(
    model: GenerativeModel, params: Params, images: ImageSet, size: int = 1024
) -> tuple[jax.Array, jax.Array]:
    """Mean and log variance of q(z|x) of a set's images, so many at a time: memory stays bounded.

    Returns:
      Both `[capacity, latent]`; rows from `count` on are zeros or of images that are there already.
    """
    parts, size = images.parts(size)

    def encode_one(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, log_variance = model.encode(params, image[None])
        return mean[0], log_variance[0]

    def add(number: jax.Array, encoded: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        part = jax.vmap(encode_one)(images.part(number, size)[0])
        return jax.tree.map(
            lambda all_, some: jax.lax.dynamic_update_slice_in_dim(all_, some, number * size, 0),
            encoded, part,
        )  # fmt: skip

    one = jax.eval_shape(encode_one, jax.eval_shape(lambda: images.rows[0]))
    room = -(-images.capacity // size) * size
    zeros = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), one)
    encoded = jax.lax.fori_loop(0, parts, add, zeros)
    return tuple(x[: images.capacity] for x in encoded)
