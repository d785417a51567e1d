"""Images with labels, where they come from, and which of them are to be forgotten.

    source = load("mnist", classes=("1", "3", "8"))     # train and test images with attributes
    request = parse_request("1", source)                 # what `--forget 1` means
    train = split(source.train, request, source)         # train.forget, train.retain
    print(train.describe())

Importing this package needs NumPy alone; TensorFlow Datasets, scikit-learn and Pillow are imported
by the sources that use them.
"""

from gsu_jax.data._dataset import Dataset, Source
from gsu_jax.data._image_sets import (
    Count,
    ForgetRetainSets,
    ImageSet,
    concatenate,
    padded_size,
    random_order,
)
from gsu_jax.data._images import check_images, check_pair, scale_images
from gsu_jax.data._request_text import parse_request
from gsu_jax.data._requests import (
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
    "Count",
    "Dataset",
    "ForgetAttribute",
    "ForgetClass",
    "ForgetIndices",
    "ForgetRetainSets",
    "ForgetWhere",
    "ImageSet",
    "Request",
    "Source",
    "Split",
    "check_images",
    "check_pair",
    "concatenate",
    "load",
    "padded_size",
    "parse_request",
    "random_order",
    "scale_images",
    "split",
]
