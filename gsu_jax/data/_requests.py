"""What is to be forgotten, and the one way in which it splits a data set in two."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from gsu_jax.checks import listing, unknown
from gsu_jax.data._dataset import FLAG, Dataset, Source


@dataclass(frozen=True)
class ForgetClass:
    """Forget every image of one class.

    Attributes:
      value: the name of the class; 1 is the class named "1", whatever its number is.
      attribute: which attribute's class; by default the source's label.
    """

    value: str | int
    attribute: str | None = None

    def describe(self, source: Source) -> str:
        """The words for reports: "class 1", "shape heart"."""
        plain = self.attribute in (None, source.label)
        return f"class {self.value}" if plain else f"{self.attribute} {self.value}"

    def mask(self, dataset: Dataset, source: Source) -> np.ndarray:
        """Which images of `dataset` are to be forgotten, bool [n]."""
        attribute = source.label if self.attribute is None else self.attribute
        names = _classes(attribute, source)
        if str(self.value) not in names:
            raise unknown("forget", f"class of {attribute}", self.value, names)
        return _values(dataset, attribute) == names.index(str(self.value))


@dataclass(frozen=True)
class ForgetAttribute:
    """Forget every image with an attribute: `ForgetAttribute("Male")`.

    Attributes:
      name: the attribute.
      value: True or False, or the name of a class where the attribute is not boolean.
    """

    name: str
    value: bool | str | int = True

    def describe(self, source: Source) -> str:
        """The words for reports: "Male", "Male=False", "shape=heart"."""
        return self.name if self.value is True else f"{self.name}={self.value}"

    def mask(self, dataset: Dataset, source: Source) -> np.ndarray:
        """Which images of `dataset` are to be forgotten, bool [n]."""
        names = _classes(self.name, source)
        if self.value is True and names != FLAG:
            raise ValueError(
                f"forget: {self.name} is not a yes-or-no attribute; say which value: "
                f"{self.name}={names[0]}. There is: {listing(names)}."
            )
        return ForgetClass(str(self.value), self.name).mask(dataset, source)


@dataclass(frozen=True)
class ForgetIndices:
    """Forget these training images, as people withdraw theirs.

    Attributes:
      indices: positions in `source.train`, whole numbers from 0, each once; kept as a tuple.

    Raises:
      TypeError: something else than whole numbers.
      ValueError: none, a negative one, or one twice. (Too large ones: when it is split.)
    """

    indices: Iterable[int]

    def __post_init__(self):
        found = np.asarray(self.indices if hasattr(self.indices, "__len__") else list(self.indices))
        if found.size == 0:
            raise ValueError("forget: the list of indices is empty; name at least one image.")
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise TypeError(
                "forget: indices must be a flat list of whole numbers, found "
                f"{found.dtype} of shape {found.shape}. For a mask: np.flatnonzero(mask)."
            )
        if found.min() < 0:
            raise ValueError(
                f"forget: indices must not be negative, found {found.min()}; they count from 0."
            )
        values, counts = np.unique(found, return_counts=True)
        if counts.max() > 1:
            raise ValueError(
                f"forget: each index once; found twice or more: "
                f"{listing(str(v) for v in values[counts > 1])}."
            )
        object.__setattr__(self, "indices", tuple(found.tolist()))

    def describe(self, source: Source) -> str:
        """The words for reports: "3 listed images"."""
        return f"{len(self.indices):,} listed image{'s' if len(self.indices) > 1 else ''}"

    def mask(self, dataset: Dataset, source: Source) -> np.ndarray:
        """Which images of `dataset` are to be forgotten, bool [n]: none of the test images."""
        mask = np.zeros(len(dataset), bool)
        if dataset is source.test:
            return mask
        if dataset is not source.train:
            raise ValueError(
                "forget: indices count the images of source.train; the data set to split is "
                "neither source.train nor source.test."
            )
        if max(self.indices) >= len(dataset):
            raise ValueError(
                f"forget: index {max(self.indices):,} is out of range: train has "
                f"{len(dataset):,} images, 0 to {len(dataset) - 1:,}."
            )
        mask[list(self.indices)] = True
        return mask


@dataclass(frozen=True)
class ForgetWhere:
    """Forget the images that a function picks.

    Attributes:
      predicate: `predicate(dataset) -> bool [n]`, from images and attributes.
      description: the words for reports, such as "dark images".
    """

    predicate: Callable[[Dataset], np.ndarray]
    description: str

    def describe(self, source: Source) -> str:
        """The words for reports."""
        return self.description

    def mask(self, dataset: Dataset, source: Source) -> np.ndarray:
        """Which images of `dataset` are to be forgotten, bool [n]."""
        mask = np.asarray(self.predicate(dataset))
        if mask.dtype != bool or mask.shape != (len(dataset),):
            raise TypeError(
                f"forget: the predicate of {self.description!r} must return bool "
                f"[{len(dataset)}], found {mask.dtype} of shape {mask.shape}."
            )
        return mask


Request = ForgetClass | ForgetAttribute | ForgetIndices | ForgetWhere


@dataclass(frozen=True, eq=False)
class Split:
    """A data set in two.

    Attributes:
      forget: the images whose influence is to go.
      retain: the others.
      description: what is forgotten, in words.
    """

    forget: Dataset
    retain: Dataset
    description: str

    @property
    def counts(self) -> dict[str, int]:
        """The number of images on each side: {"forget": ..., "retain": ...}."""
        return {"forget": len(self.forget), "retain": len(self.retain)}

    def describe(self) -> str:
        """Both sides in words: "forget: 6,742 images (class 1); retain: 11,982 images"."""
        forget, retain = (f"{n:,} image{'' if n == 1 else 's'}" for n in self.counts.values())
        return f"forget: {forget} ({self.description}); retain: {retain}"


def split(dataset: Dataset, request: Request, source: Source) -> Split:
    """Splits `dataset` into what `request` forgets and what is retained, both in order.

    The same request splits `source.train` and `source.test`. A list of indices means training
    images, so that all test images are then retained; the forget side may be empty for
    `source.test` alone.

    Raises:
      TypeError: `request` is none of the request types.
      ValueError: an unknown class or attribute, indices out of range, nothing to forget, or
        nothing left to retain.
    """
    if not isinstance(request, Request):
        raise TypeError(
            f"request must be ForgetClass, ForgetAttribute, ForgetIndices or ForgetWhere, found "
            f"{type(request).__name__}. From text: parse_request(text, source)."
        )
    mask = request.mask(dataset, source)
    result = Split(dataset.take(mask), dataset.take(~mask), request.describe(source))
    if not mask.any() and dataset is not source.test:
        raise ValueError(
            f"forget: no image of {source.name} matches ({result.description}); nothing to forget."
        )
    if mask.all():
        raise ValueError(
            f"forget: all {len(dataset):,} images of {source.name} match ({result.description}); "
            "nothing would be retained."
        )
    return result


def _classes(attribute: str, source: Source) -> tuple[str, ...]:
    if attribute not in source.classes:
        raise unknown("forget", "attribute", attribute, source.classes)
    return source.classes[attribute]


def _values(dataset: Dataset, attribute: str) -> np.ndarray:
    if attribute not in dataset.attributes:
        raise unknown("dataset", "attribute", attribute, dataset.attributes)
    return dataset.attributes[attribute]
