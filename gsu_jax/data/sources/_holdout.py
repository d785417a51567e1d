"""The test part of sources that have none: a fifth of every class, always the same images."""

import numpy as np

from gsu_jax.data._dataset import Dataset

HOLDOUT_SEED = 138
HOLDOUT_SHARE = 0.2


def hold_out(dataset: Dataset, label: str) -> tuple[Dataset, Dataset]:
    """(train, test): `HOLDOUT_SHARE` of every class of `label` is test, in the original order.

    The images are ranked by raw draws of PCG64 at `HOLDOUT_SEED`: NumPy promises that stream to
    stay the same in every version, which it does not for shuffles.

    Raises:
      ValueError: every class has so few images (1 or 2) that nothing would be held out.
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
            f"images: {len(labels)} images are too few to hold out a test part (a fifth of every "
            "class). Give a test part of your own."
        )
    return dataset.take(~test), dataset.take(test)
