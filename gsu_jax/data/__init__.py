"""Images with labels, where they come from, and which of them to forget.

    source = load("mnist", classes=("1", "3", "8"))     # training and test images, with attributes
    train, test = parse_request("1", source).split(source)      # what `--forget 1` means
    print(train.describe())

Importing this package needs the core alone. A source imports TensorFlow Datasets, scikit-learn or
Pillow when it is loaded.
"""

from gsu_jax.data._dataset import Dataset, Source
from gsu_jax.data._examples import (
    Examples,
    check_examples,
    check_pair,
    is_images,
    number_of,
    scale_examples,
)
from gsu_jax.data._exclusions import Exclusions, exclude
from gsu_jax.data._folder_request import ForgetFolder
from gsu_jax.data._image_sets import (
    Count,
    ForgetRetainSets,
    ImageSet,
    concatenate,
    padded_size,
    random_order,
)
from gsu_jax.data._images import check_images, scale_images
from gsu_jax.data._listed import ForgetFiles, ForgetIndices
from gsu_jax.data._request import Request, SourceSplit, Split
from gsu_jax.data._request_text import parse_request
from gsu_jax.data._requests import (
    ClassRequest,
    ForgetAttribute,
    ForgetClass,
    ForgetClasses,
    ForgetWhere,
)
from gsu_jax.data.sources import clear_cache, load

__all__ = [
    "ClassRequest",
    "Count",
    "Dataset",
    "Examples",
    "Exclusions",
    "ForgetAttribute",
    "ForgetClass",
    "ForgetClasses",
    "ForgetFiles",
    "ForgetFolder",
    "ForgetIndices",
    "ForgetRetainSets",
    "ForgetWhere",
    "ImageSet",
    "Request",
    "Source",
    "SourceSplit",
    "Split",
    "check_examples",
    "check_images",
    "check_pair",
    "clear_cache",
    "concatenate",
    "exclude",
    "is_images",
    "load",
    "number_of",
    "padded_size",
    "parse_request",
    "random_order",
    "scale_examples",
    "scale_images",
]
