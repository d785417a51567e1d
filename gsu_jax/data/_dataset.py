"""`Dataset` and `Source`: images with attributes, and the training and test sets of one origin."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gsu_jax.checks import listing, unknown
from gsu_jax.data._images import check_stored_images

Attributes = Mapping[str, np.ndarray]
Classes = Mapping[str, tuple[str, ...]]
FLAG = ("False", "True")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images, their attributes and the names of their files.

    Attributes:
        images: `[n, height, width, channels]`, uint8, or float32 in [0, 1].
        attributes: Name -> `[n]`, class numbers (integers) or booleans.
        names: `[n]` strings such as "Bag/1898.png", or None if the images have no names. Images may
            share a name: a request for that name forgets all of them.

    Raises:
        TypeError: The images, an attribute or the names have an unsupported type or dtype.
        ValueError: The images have an unsupported shape or range, or an attribute or the names
            another length.

    Example:
        >>> images = np.zeros((4, 8, 8, 1), np.uint8)
        >>> dataset = Dataset(images, {"label": np.array([0, 1, 1, 0])})
        >>> dataset
        Dataset(4 images 8x8x1 uint8; attributes: label)
        >>> len(dataset.take(dataset.attributes["label"] == 1))
        2
    """

    images: np.ndarray
    attributes: Attributes
    names: np.ndarray | None = None

    def __post_init__(self):
        check_stored_images(self.images)
        if self.names is not None:
            _check_names(self.names, len(self.images))
        for name, values in self.attributes.items():
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "biu":
                got = getattr(values, "dtype", type(values).__name__)
                raise TypeError(
                    f"attribute {name!r} must be a numpy array of integers or booleans, got {got}"
                )
            if values.shape != (len(self.images),):
                raise ValueError(
                    f"attribute {name!r} must have one value for each of the "
                    f"{len(self.images):,} images, got shape {values.shape}"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.images.shape[1:])
        return (
            f"Dataset({len(self):,} images {shape} {self.images.dtype}; "
            f"attributes: {listing(self.attributes)}{'' if self.names is None else '; named'})"
        )

    def take(self, indices: Any) -> "Dataset":
        """Returns the images at `indices` (integers or a mask `[n]`), with attributes and names."""
        indices = np.asarray(indices)
        if indices.size == 0 and indices.dtype != bool:
            indices = indices.astype(np.int64)
        return Dataset(
            self.images[indices],
            {name: values[indices] for name, values in self.attributes.items()},
            None if self.names is None else self.names[indices],
        )


@dataclass(frozen=True, eq=False)
class Source:
    """Training and test images of one origin.

    Attributes:
        name: The name it was loaded as, for reports.
        train: The images that models are trained on.
        test: The images that models are evaluated on.
        classes: Attribute -> class names. Integer k of the attribute is the k-th name; the names
            of a boolean attribute are "False" and "True".
        label: The attribute that a bare class name refers to, and that a judge learns.
        fingerprint: 16 hexadecimal digits of the SHA-256 of all images, attributes and class
            names, but not of the names of files: equal fingerprints mean equal data. Computed if
            empty.

    Raises:
        ValueError: `train` and `test` differ in image shape, dtype or attributes, or `classes` or
            `label` do not match them.

    Example:
        >>> dataset = Dataset(np.zeros((4, 8, 8, 1), np.uint8), {"pet": np.array([0, 1, 1, 0])})
        >>> Source("pets", dataset, dataset, {"pet": ("cat", "dog")}, "pet").image_shape
        (8, 8, 1)
    """

    name: str
    train: Dataset
    test: Dataset
    classes: Classes
    label: str
    fingerprint: str = ""

    def __post_init__(self):
        if not len(self.train):
            raise ValueError(f"{self.name}: train is empty; expected at least one image")
        if (self.train.images.shape[1:], self.train.images.dtype) != (
            self.test.images.shape[1:],
            self.test.images.dtype,
        ):
            raise ValueError(
                f"{self.name}: train and test images must have one shape and dtype, got "
                f"{self.train.images.shape[1:]} {self.train.images.dtype} and "
                f"{self.test.images.shape[1:]} {self.test.images.dtype}"
            )
        if not set(self.classes) == set(self.train.attributes) == set(self.test.attributes):
            raise ValueError(
                f"{self.name}: train, test and classes must name the same attributes, got "
                f"{sorted(self.train.attributes)}, {sorted(self.test.attributes)} and "
                f"{sorted(self.classes)}"
            )
        if self.label not in self.classes:
            raise unknown("label", f"attribute of {self.name}", self.label, self.classes)
        for name, names in self.classes.items():
            for values in (self.train.attributes[name], self.test.attributes[name]):
                if len(values) and not 0 <= int(values.min()) <= int(values.max()) < len(names):
                    raise ValueError(
                        f"{self.name}: attribute {name!r} has {len(names)} class names, got "
                        f"values {int(values.min())} to {int(values.max())}"
                    )
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.train.images.shape[1:]


def class_numbers(classes: Sequence[str], names: Sequence[str], label: str) -> list[int]:
    """Returns the numbers of `classes` among `names`, or raises ValueError for an unknown one."""
    for name in classes:
        if name not in names:
            raise unknown("classes", f"class of {label}", name, names)
    return [names.index(name) for name in classes]


def keep_classes(source: Source, classes: Sequence[str] | None) -> Source:
    """Returns `source` with only these `classes` of its label, renumbered in the given order."""
    if classes is None:
        return source
    names = source.classes[source.label]
    old_number = class_numbers(classes, names, source.label)
    new_number = np.full(len(names), -1, np.int32)
    new_number[old_number] = np.arange(len(classes))

    def keep(dataset: Dataset) -> Dataset:
        numbers = new_number[dataset.attributes[source.label].astype(np.int64)]
        kept = dataset.take(numbers >= 0)
        attributes = {**kept.attributes, source.label: numbers[numbers >= 0]}
        return Dataset(kept.images, attributes, kept.names)

    return Source(
        source.name,
        keep(source.train),
        keep(source.test),
        {**source.classes, source.label: tuple(classes)},
        source.label,
    )


def _check_names(names: object, length: int) -> None:
    if not isinstance(names, np.ndarray) or names.dtype.kind != "U":
        got = getattr(names, "dtype", type(names).__name__)
        raise TypeError(
            f"names must be a numpy array of strings, got {got}. Convert them with "
            "np.array(names, dtype=str)"
        )
    if names.shape != (length,):
        raise ValueError(
            f"names must have one string for each of the {length:,} images, got shape {names.shape}"
        )


def _fingerprint(source: Source) -> str:
    names = [source.label, sorted((name, list(c)) for name, c in source.classes.items())]
    digest = hashlib.sha256(json.dumps(names).encode())
    for dataset in (source.train, source.test):
        for name, array in [("", dataset.images), *sorted(dataset.attributes.items())]:
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]
