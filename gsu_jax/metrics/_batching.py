"""Batches of one shape, so that a compiled function over many images is compiled once."""

from collections.abc import Iterator

import jax
import numpy as np

from gsu_jax import checks
from gsu_jax.data import Examples, number_of


def padded_batches(images: Examples, batch_size: int) -> Iterator[tuple[int, Examples]]:
    """Yields `(start, batch)`, where every batch has `min(batch_size, n)` images.

    Copies of the last image fill the last batch; cut the results to n.

    Raises:
        ValueError: There are no images, or `batch_size` is below 1.
    """
    n = number_of(images)
    if not n:
        raise ValueError("images is empty; give at least one")
    checks.at_least(1, batch_size=batch_size)
    size = min(batch_size, n)
    for start in range(0, n, size):
        full = start + size <= n
        rows = slice(start, start + size)
        if not full:
            rows = np.minimum(np.arange(start, start + size), n - 1)
        yield start, jax.tree.map(lambda x, rows=rows: x[rows], images)
