"""Holds out a test set: a share of every class, always the same images."""

import numpy as np

from gsu_jax.data._dataset import Dataset

HOLDOUT_SEED = 138
HOLDOUT_SHARE = 0.2


def hold_out(dataset: Dataset, label: str, share: float | None = None) -> tuple[Dataset, Dataset]:
    """Splits off a share of every class of `label`, in the original order.

    Raw draws of PCG64 with seed `HOLDOUT_SEED` rank the images. NumPy guarantees this stream for
    all versions, but not its shuffles.

    Args:
        dataset: All images.
        label: The attribute whose classes are split.
        share: The share of every class, from 0 to below 1; `HOLDOUT_SHARE` if None. With 0, the
            test set is empty.

    Returns:
        The training and the test set.

    Raises:
        ValueError: Every class has so few images (1 or 2) that the test set would be empty.
    """
    share = HOLDOUT_SHARE if share is None else share
    labels = dataset.attributes[label]
    draws = np.random.PCG64(HOLDOUT_SEED).random_raw(len(labels))
    test = np.zeros(len(labels), bool)
    for value in np.unique(labels):
        members = np.flatnonzero(labels == value)
        ranked = members[np.argsort(draws[members], kind="stable")]
        test[ranked[: round(share * len(members))]] = True
    if share and not test.any():
        raise ValueError(
            f"images: {len(labels)} images are too few to hold out a test set ({share:g} of every "
            "class). Give test images, or holdout=0 for none"
        )
    return dataset.take(~test), dataset.take(test)


def refuse_holdout(share: float | None, source: object) -> None:
    """Raises ValueError if a share is given for a source that has test images of its own."""
    if share is not None:
        raise ValueError(
            f"holdout must be left out for {source}, which has test images of its own, got {share}"
        )
