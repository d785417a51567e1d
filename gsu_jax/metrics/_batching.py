"""Batches of one shape, so that a compiled function over many images is compiled once."""

from collections.abc import Iterator

import numpy as np

from gsu_jax import checks


def padded_batches(images: np.ndarray, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields `(start, batch)`, where every batch has `min(batch_size, n)` images.

    Copies of the last image fill the last batch; cut the results to n.

    Raises:
        ValueError: There are no images, or `batch_size` is below 1.
    """
    if not len(images):
        raise ValueError("images is empty; give at least one")
    checks.at_least(1, batch_size=batch_size)
    size = min(batch_size, len(images))
    for start in range(0, len(images), size):
        indices = np.minimum(np.arange(start, start + size), len(images) - 1)
        full = start + size <= len(images)
        yield start, images[start : start + size] if full else images[indices]
