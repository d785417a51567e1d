"""Padded image sets with a traced length, so one compiled program serves sets of any size."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from gsu_jax.data._examples import Examples, join_examples, number_of, scale_examples

Count = jax.Array | int


class ImageSet(NamedTuple):
    """`count` consecutive images of a padded array, from `first` on.

    `first` and `count` may be traced, so a compiled program takes every set of arrays of one shape.

    Attributes:
        images: `[capacity, height, width, channels]`, uint8 or float in [0, 1]; or a pytree of
            arrays `[capacity, ...]`, see `check_examples`.
        first: The position of the first image of the set in `images`.
        count: The number of images in the set, at least one.

    Example:
        >>> import numpy as np
        >>> images = ImageSet.of(np.zeros((10, 8, 8, 1), np.uint8))
        >>> images.take(jnp.array([0, 9])).shape
        (2, 8, 8, 1)
    """

    images: Examples
    first: Count
    count: Count

    @classmethod
    def of(cls, images: "ImageSet | Examples") -> Self:
        """Returns all images of an array as a set, and a set unchanged."""
        if isinstance(images, cls):
            return images
        return cls(jax.tree.map(jnp.asarray, images), 0, number_of(images))

    @property
    def capacity(self) -> int:
        """The length of the padded array: a static bound of `count`."""
        return number_of(self.images)

    def take(self, indices: jax.Array) -> Examples:
        """Returns the images at `indices`, each from 0 to `count - 1`, as floats in [0, 1]."""
        rows = self.first + jnp.atleast_1d(indices)
        taken = scale_examples(jax.tree.map(lambda x: x[rows], self.images))
        return taken if jnp.ndim(indices) else jax.tree.map(lambda x: x[0], taken)

    def draw(self, key: jax.Array, at_most: int) -> "ImageSet":
        """Draws `at_most` images without replacement, or all in a random order if fewer."""
        indices = random_order(key, self.count, self.capacity)[:at_most]
        return ImageSet(self.take(indices), 0, jnp.minimum(at_most, self.count))

    def chunks(self, size: int) -> tuple[Count, int]:
        """Returns the number of chunks that cover the set, and their size: at most `size`."""
        size = min(size, self.capacity)
        return -(-self.count // size), size

    def chunk(self, number: jax.Array, size: int) -> tuple[Examples, jax.Array]:
        """Returns the `size` images of chunk `number`, and a mask that is 0 for padding."""
        indices = number * size + jnp.arange(size)
        return self.take(indices % self.count), (indices < self.count).astype(jnp.float32)


class ForgetRetainSets(NamedTuple):
    """The images to forget and to retain in one padded array, whose shape hides both numbers.

    Attributes:
        images: `[capacity, height, width, channels]`: images to forget, to retain, then padding;
            or a pytree of such arrays.
        n_forget: The number of images to forget.
        n_retain: The number of images to retain.
    """

    images: Examples
    n_forget: Count
    n_retain: Count

    @property
    def forget(self) -> ImageSet:
        """The images to forget."""
        return ImageSet(self.images, 0, self.n_forget)

    @property
    def retain(self) -> ImageSet:
        """The images to retain."""
        return ImageSet(self.images, self.n_forget, self.n_retain)


def concatenate(forget: Examples, retain: Examples, multiple: int = 1) -> ForgetRetainSets:
    """Concatenates both sets on the host and pads them with zeros.

    If only one set is uint8, both become float32 in [0, 1].

    Args:
        forget: `[n, height, width, channels]`, or a pytree of arrays `[n, ...]`.
        retain: `[m, height, width, channels]`, or a pytree of arrays `[m, ...]`.
        multiple: The padded length is a multiple of this number.

    Returns:
        Both sets, with `padded_size(n + m)` images rounded up to `multiple`.

    Example:
        >>> import numpy as np
        >>> sets = concatenate(np.zeros((3, 8, 8, 1)), np.ones((30, 8, 8, 1)))
        >>> sets.images.shape, sets.n_forget, sets.n_retain
        ((36, 8, 8, 1), 3, 30)
    """
    n_forget, n_retain = number_of(forget), number_of(retain)
    capacity = -(-padded_size(n_forget + n_retain) // multiple) * multiple
    joined = join_examples(forget, retain, capacity - n_forget - n_retain)
    return ForgetRetainSets(joined, n_forget, n_retain)


def padded_size(n: int) -> int:
    """Returns a length for `n` images: at most an eighth longer, eight lengths per doubling."""
    step = max(1, 2 ** (n.bit_length() - 4))
    return -(-n // step) * step


def random_order(key: jax.Array, count: Count, size: int) -> jax.Array:
    """Returns `[size]` indices: a random order of those below `count`, then the rest."""
    indices = jnp.arange(size)
    bits = jax.random.bits(key, (size,))
    return jax.lax.sort((indices >= count, bits, indices), num_keys=2)[-1]
