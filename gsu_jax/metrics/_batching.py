"""Batches of one shape, so that a compiled function over many images is compiled once."""

from collections.abc import Iterator

import numpy as np


def padded_batches(images: np.ndarray, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields `(start, batch)`, every batch of `min(batch_size, n)` images.

    The last one is filled up with copies of the last image; cut the results to n.

    Raises:
      ValueError: no images, or `batch_size` below 1.
    """
    if not len(images):
        raise ValueError("images is empty: there is nothing to evaluate.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}.")
    size = min(batch_size, len(images))
    for start in range(0, len(images), size):
        indices = np.minimum(np.arange(start, start + size), len(images) - 1)
        full = start + size <= len(images)
        yield start, images[start : start + size] if full else images[indices]
