"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, without a download."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np

from gsu_jax.checks import import_extra
from gsu_jax.data._dataset import Dataset, Source
from gsu_jax.data.sources._holdout import HOLDOUT_SHARE, hold_out

GRAY_LEVELS = 16.0


def digits_key() -> dict[str, str]:
    """Returns what the decoded digits depend on."""
    try:
        return {"scikit-learn": version("scikit-learn")}
    except PackageNotFoundError:
        return {}


def read_digits(holdout: float = HOLDOUT_SHARE) -> Source:
    """Reads the digits, float32 `[n, 8, 8, 1]`: gray levels 0..16 divided by 16, without rounding.

    References:
        Alpaydin & Kaynak, `Optical Recognition of Handwritten Digits
        <https://doi.org/10.24432/C50P49>`_, 1998; scikit-learn's `load_digits` has its test set.
    """
    raw = import_extra("sklearn.datasets", "scikit-learn", 'the source "digits"').load_digits()
    images = (raw.images / GRAY_LEVELS).astype(np.float32)[..., None]
    everything = Dataset(images, {"label": raw.target.astype(np.int32)})
    train, test = hold_out(everything, "label", holdout)
    return Source("digits", train, test, {"label": tuple("0123456789")}, "label")
