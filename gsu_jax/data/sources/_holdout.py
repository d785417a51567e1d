"""Holds out a test set: a fifth of every class, always the same images."""

import numpy as np

from gsu_jax.data._dataset import Dataset

HOLDOUT_SEED = 138
HOLDOUT_SHARE = 0.2


def hold_out(dataset: Dataset, label: str) -> tuple[Dataset, Dataset]:
    """Splits off `HOLDOUT_SHARE` of every class of `label`, in the original order.

    Raw draws of PCG64 with seed `HOLDOUT_SEED` rank the images. NumPy guarantees this stream for
    all versions, but not its shuffles.

    Args:
        dataset: All images.
        label: The attribute whose classes are split.

    Returns:
        The training and the test set.

    Raises:
        ValueError: Every class has so few images (1 or 2) that the test set would be empty.
    """
    labels = dataset.attributes[label]
    draws = np.random.PCG64(HOLDOUT_SEED).random_raw(len(labels))
    test = np.zeros(len(labels), bool)
    for value in np.unique(labels):
        members = np.flatnonzero(labels == value)
        ranked = members[np.argsort(draws[members], kind="stable")]
        test[ranked[: round(HOLDOUT_SHARE * len(members))]] = True
    if not test.any():
        raise ValueError(
            f"images: {len(labels)} images are too few to hold out a test set (a fifth of every "
            "class). Give test images"
        )
    return dataset.take(~test), dataset.take(test)
