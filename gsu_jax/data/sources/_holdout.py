"""Holds out a test set: a share of every class, always the same images."""

import numpy as np

from gsu_jax.data._dataset import Dataset

HOLDOUT_SEED = 138
HOLDOUT_SHARE = 0.2


def hold_out(dataset: Dataset, label: str, share: float = HOLDOUT_SHARE) -> tuple[Dataset, Dataset]:
    """Splits off `share` of every class of `label`, in the original order.

    Raw draws of PCG64 with seed `HOLDOUT_SEED` rank the images. NumPy guarantees this stream for
    all versions, but not its shuffles. So a larger share holds out the same images and more. Every
    class keeps at least one training image.

    Args:
        dataset: All images.
        label: The attribute whose classes are split.
        share: The share of every class, in [0, 1); 0 gives an empty test set.

    Returns:
        The training and the test set.

    Raises:
        ValueError: Every class has so few images that the test set would be empty, and the share is
            not 0.
    """
    labels = dataset.attributes[label]
    draws = np.random.PCG64(HOLDOUT_SEED).random_raw(len(labels))
    test = np.zeros(len(labels), bool)
    for value in np.unique(labels):
        members = np.flatnonzero(labels == value)
        ranked = members[np.argsort(draws[members], kind="stable")]
        test[ranked[: min(round(share * len(members)), len(members) - 1)]] = True
    if share and not test.any():
        raise ValueError(
            f"images: {len(labels)} images are too few to hold out a test set ({share:g} of every "
            "class). Give test images, or a larger holdout=. A study needs some; unlearn "
            "alone takes load(..., holdout=0)"
        )
    return dataset.take(~test), dataset.take(test)


def check_no_holdout(holdout: float | None, reason: str) -> None:
    """Raises ValueError if a share is given where a test set exists: `reason` says where."""
    if holdout is not None:
        raise ValueError(
            f"holdout: {reason}, so that nothing is held out of the training images; got "
            f"{holdout:g}. Leave holdout out"
        )
