"""`Dataset` and `Source`: images with attributes, and the train and test parts of one origin."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gsu_jax.checks import listing, unknown

Attributes = Mapping[str, np.ndarray]
Classes = Mapping[str, tuple[str, ...]]
FLAG = ("False", "True")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and what is known about each of them.

    Attributes:
      images: `[n, height, width, channels]`, uint8, or float32 in [0, 1].
      attributes: name -> `[n]`, integers (the number of a class) or booleans.

    Raises:
      TypeError: images or an attribute of another type or dtype.
      ValueError: images of another shape or range, an attribute of another length.
    """

    images: np.ndarray
    attributes: Attributes

    def __post_init__(self):
        check_pixels(self.images)
        for name, values in self.attributes.items():
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "biu":
                found = getattr(values, "dtype", type(values).__name__)
                raise TypeError(
                    f"attribute {name!r} must be a numpy array of integers or booleans, "
                    f"found {found}."
                )
            if values.shape != (len(self.images),):
                raise ValueError(
                    f"attribute {name!r} must have one value for each of the "
                    f"{len(self.images):,} images, found shape {values.shape}."
                )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.images.shape[1:])
        return (
            f"Dataset({len(self):,} images {shape} {self.images.dtype}; "
            f"attributes: {listing(self.attributes)})"
        )

    def take(self, indices: Any) -> "Dataset":
        """The images at `indices` (integers, or a boolean mask `[n]`) with their attributes."""
        indices = np.asarray(indices)
        if indices.size == 0 and indices.dtype != bool:
            indices = indices.astype(np.int64)
        return Dataset(
            self.images[indices],
            {name: values[indices] for name, values in self.attributes.items()},
        )


@dataclass(frozen=True, eq=False)
class Source:
    """The train and test images of one origin.

    Attributes:
      name: what it was loaded as, for reports.
      train: the images a model is trained on.
      test: the images it is judged with.
      classes: attribute -> names of its classes: integer k of the attribute is the k-th name;
        booleans have the names "False" and "True".
      label: the attribute that a bare class name means, and that a judge is trained on.
      fingerprint: 16 hexadecimal digits, a SHA-256 of every array and class name: equal
        fingerprints are equal data. Computed where it is not given.

    Raises:
      ValueError: train and test differ in image shape or attributes, or `classes` or `label` do
        not fit them.
    """

    name: str
    train: Dataset
    test: Dataset
    classes: Classes
    label: str
    fingerprint: str = ""

    def __post_init__(self):
        if not len(self.train):
            raise ValueError(f"{self.name}: train holds no images.")
        if (self.train.images.shape[1:], self.train.images.dtype) != (
            self.test.images.shape[1:],
            self.test.images.dtype,
        ):
            raise ValueError(
                f"{self.name}: train and test images must be alike, found "
                f"{self.train.images.shape[1:]} {self.train.images.dtype} and "
                f"{self.test.images.shape[1:]} {self.test.images.dtype}."
            )
        if not set(self.classes) == set(self.train.attributes) == set(self.test.attributes):
            raise ValueError(
                f"{self.name}: train, test and classes must name the same attributes, found "
                f"{sorted(self.train.attributes)}, {sorted(self.test.attributes)} and "
                f"{sorted(self.classes)}."
            )
        if self.label not in self.classes:
            raise ValueError(
                f"{self.name}: label={self.label!r} is none of its attributes: "
                f"{listing(self.classes)}."
            )
        for name, names in self.classes.items():
            for values in (self.train.attributes[name], self.test.attributes[name]):
                if len(values) and not 0 <= int(values.min()) <= int(values.max()) < len(names):
                    raise ValueError(
                        f"{self.name}: attribute {name!r} has {len(names)} class names, found "
                        f"values {int(values.min())} to {int(values.max())}."
                    )
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        return self.train.images.shape[1:]


def class_numbers(classes: Sequence[str], names: Sequence[str], label: str) -> list[int]:
    """The numbers of `classes` among `names`; ValueError for one that is not there."""
    for name in classes:
        if name not in names:
            raise unknown("classes", f"class of {label}", name, names)
    return [names.index(name) for name in classes]


def keep_classes(source: Source, classes: Sequence[str] | None) -> Source:
    """`source` with only these `classes` of its label, re-numbered 0..k-1 in the given order."""
    if classes is None:
        return source
    names = source.classes[source.label]
    old_number = class_numbers(classes, names, source.label)
    new_number = np.full(len(names), -1, np.int32)
    new_number[old_number] = np.arange(len(classes))

    def keep(part: Dataset) -> Dataset:
        numbers = new_number[part.attributes[source.label].astype(np.int64)]
        kept = part.take(numbers >= 0)
        return Dataset(kept.images, {**kept.attributes, source.label: numbers[numbers >= 0]})

    return Source(
        source.name,
        keep(source.train),
        keep(source.test),
        {**source.classes, source.label: tuple(classes)},
        source.label,
    )


def _fingerprint(source: Source) -> str:
    names = [source.label, sorted((name, list(c)) for name, c in source.classes.items())]
    digest = hashlib.sha256(json.dumps(names).encode())
    for part in (source.train, source.test):
        for name, array in [("", part.images), *sorted(part.attributes.items())]:
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()[:16]


MOST_CHANNELS = 4


def check_pixels(images: Any, argument: str = "images") -> None:
    """Raises where `images` are not NHWC in uint8 or in float32 between 0 and 1.

    Raises:
      TypeError: not a NumPy array, or of another dtype.
      ValueError: another rank, no pixels, more than four channels (NCHW?), NaN, outside [0, 1].
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(
            f"{argument} must be a numpy array [n, height, width, channels], "
            f"found {type(images).__name__}."
        )
    if images.dtype not in (np.uint8, np.float32):
        fix = "float32" if images.dtype.kind == "f" else "uint8"
        raise TypeError(
            f"{argument} must be uint8 in 0..255 or float32 in [0, 1], found {images.dtype}. "
            f"Convert them with images.astype(np.{fix})."
        )
    if images.ndim != 4:
        raise ValueError(
            f"{argument} must have four axes [n, height, width, channels], found shape "
            f"{images.shape}. Gray images need a last axis of 1: images[..., None]."
        )
    if 0 in images.shape[1:]:
        raise ValueError(f"{argument} must have pixels, found shape {images.shape}.")
    if images.shape[3] > MOST_CHANNELS:
        raise ValueError(
            f"{argument} must be [n, height, width, channels] with 1 to {MOST_CHANNELS} channels, "
            f"found shape {images.shape}. From [n, channels, height, width]: "
            "images.transpose(0, 2, 3, 1)."
        )
    if images.dtype == np.float32 and len(images):
        low, high = images.min(), images.max()
        if np.isnan(low) or np.isnan(high):
            bad = int(np.isnan(images).any(axis=(1, 2, 3)).sum())
            raise ValueError(f"{argument} must be finite, found NaN in {bad} of {len(images)}.")
        if low < 0 or high > 1:
            raise ValueError(
                f"{argument} must lie in [0, 1] where they are float, found {low:g} to {high:g}. "
                "Scale them, for example images / 255."
            )
