"""NAME: one line that says what images these are, and how many.

Copy to `gsu_jax/data/sources/_NAME.py`. There, import `Dataset` and `Source` from
`gsu_jax.data._dataset`. `hold_out` of `gsu_jax.data.sources._holdout` makes a fixed test set if the
source has none.
"""

import numpy as np

from gsu_jax.data import Dataset, Source

VERSION = "1"


def skeleton_key() -> dict[str, str]:
    """Returns what the decoded images depend on, so that the cache notices a change."""
    return {"version": VERSION}


def read_skeleton() -> Source:
    """Reads the images: replace the drawing by your decoding.

    Import an optional package inside, with `gsu_jax.checks.import_extra`.

    Example:
        >>> read_skeleton().train.images.shape
        (60, 8, 8, 1)
    """
    train, test = _draw(np.random.default_rng(0), 60), _draw(np.random.default_rng(1), 20)
    return Source("skeleton", train, test, {"shape": ("square", "bar")}, "shape")


def _draw(rng: np.random.Generator, n: int) -> Dataset:
    shapes = rng.integers(0, 2, n, dtype=np.int32)
    images = np.zeros((n, 8, 8, 1), np.uint8)
    images[shapes == 0, 2:6, 2:6] = 255
    images[shapes == 1, 3:5, :] = 255
    return Dataset(images, {"shape": shapes})
