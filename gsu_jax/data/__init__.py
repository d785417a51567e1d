"""Images with labels, where they come from, and which of them are to be forgotten.

    source = load("mnist", classes=("1", "3", "8"))     # train and test images with attributes
    request = parse_request("1", source)                 # what `--forget 1` means
    train = split(source.train, request, source)         # train.forget, train.retain
    print(train.describe())

Importing this package needs NumPy alone; TensorFlow Datasets, scikit-learn and Pillow are imported
by the sources that use them.
"""

from gsu_jax.data.dataset import Dataset, Source
from gsu_jax.data.parsing import parse_request
from gsu_jax.data.requests import (
    ForgetAttribute,
    ForgetClass,
    ForgetIndices,
    ForgetWhere,
    Request,
    Split,
    split,
)
from gsu_jax.data.sources import load

__all__ = [
    "Dataset",
    "ForgetAttribute",
    "ForgetClass",
    "ForgetIndices",
    "ForgetWhere",
    "Request",
    "Source",
    "Split",
    "load",
    "parse_request",
    "split",
]
