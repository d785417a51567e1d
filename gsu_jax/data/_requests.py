"""The requests: classes, an attribute, single images, a predicate."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from gsu_jax.checks import listing, unknown
from gsu_jax.data._dataset import FLAG, Dataset, Source
from gsu_jax.data._request import Request, Seen


@dataclass(frozen=True)
class ForgetClass(Request):
    """Forget every image of one class.

    Attributes:
        value: The name of the class; 1 is the class named "1", whatever its number is.
        attribute: The attribute that has this class; the source's label if None.

    Example:
        >>> from gsu_jax.data import load
        >>> ForgetClass(1).split(load("digits")).train.counts
        {'forget': 146, 'retain': 1292}
    """

    value: str | int
    attribute: str | None = None

    def __or__(self, other: "ForgetClass | ForgetClasses") -> "ForgetClasses":
        """Returns the request to forget both: `ForgetClass("cat") | ForgetClass("dog")`."""
        return ForgetClasses((self.value,), self.attribute) | other

    def describe(self, source: Source) -> str:
        """Returns "class 1", or "shape heart" for an attribute other than the label."""
        plain = self.attribute in (None, source.label)
        return f"class {self.value}" if plain else f"{self.attribute} {self.value}"

    def seen(self, source: Source) -> Seen:
        """Returns the attribute and the number of the class."""
        return ForgetClasses((self.value,), self.attribute).seen(source)

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""
        return ForgetClasses((self.value,), self.attribute).masks(source)


@dataclass(frozen=True)
class ForgetClasses(Request):
    """Forget every image of several classes of one attribute.

    Attributes:
        values: The names of the classes, each once; stored as a tuple.
        attribute: The attribute that has these classes; the source's label if None.

    Raises:
        ValueError: There are no classes, or one occurs twice.

    Example:
        >>> from gsu_jax.data import load
        >>> ForgetClasses([1, 7]).split(load("digits")).train.describe()
        'forget: 289 images (classes 1, 7); retain: 1,149 images'
    """

    values: Iterable[str | int]
    attribute: str | None = None

    def __post_init__(self):
        values = tuple(self.values)
        if not values or len({str(value) for value in values}) < len(values):
            raise ValueError(
                "forget: classes must name at least one class, each once, got "
                f"{listing(str(value) for value in values) or 'none'}"
            )
        object.__setattr__(self, "values", values)

    def __or__(self, other: "ForgetClass | ForgetClasses") -> "ForgetClasses":
        """Returns the request to forget the classes of both, which must be of one attribute."""
        if not isinstance(other, ForgetClass | ForgetClasses):
            return NotImplemented
        if other.attribute != self.attribute:
            raise ValueError(
                "forget: classes must be of one attribute, got "
                f"{self.attribute or 'the label'} and {other.attribute or 'the label'}"
            )
        more = (other.value,) if isinstance(other, ForgetClass) else other.values
        return ForgetClasses((*self.values, *more), self.attribute)

    def describe(self, source: Source) -> str:
        """Returns "classes 1, 7", or "shape heart, square" for another attribute."""
        what = "classes" if self.attribute in (None, source.label) else self.attribute
        return f"{what} {', '.join(str(value) for value in self.values)}"

    def seen(self, source: Source) -> Seen:
        """Returns the attribute and the numbers of the classes."""
        attribute = source.label if self.attribute is None else self.attribute
        names = _classes(attribute, source)
        for value in self.values:
            if str(value) not in names:
                raise unknown("forget", f"class of {attribute}", value, names)
        return Seen(attribute, tuple(names.index(str(value)) for value in self.values))

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""
        attribute, numbers = self.seen(source)
        columns = (set_.attributes[attribute] for set_ in (source.train, source.test))
        train, test = (np.isin(column.astype(np.int64), numbers) for column in columns)
        return train, test


@dataclass(frozen=True)
class ForgetAttribute(Request):
    """Forget every image with an attribute: `ForgetAttribute("Male")`.

    Attributes:
        name: The name of the attribute.
        value: True or False for a boolean attribute, the name of a class for another.
    """

    name: str
    value: bool | str | int = True

    def describe(self, source: Source) -> str:
        """Returns "Male", "Male=False" or "shape=heart"."""
        return self.name if self.value is True else f"{self.name}={self.value}"

    def seen(self, source: Source) -> Seen:
        """Returns the attribute and the number of its value."""
        return self._as_class(source).seen(source)

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""
        return self._as_class(source).masks(source)

    def _as_class(self, source: Source) -> ForgetClass:
        names = _classes(self.name, source)
        if self.value is True and names != FLAG:
            raise ValueError(
                f"forget: {self.name} is not boolean; give a value, such as "
                f"{self.name}={names[0]}. Known: {listing(names)}"
            )
        return ForgetClass(str(self.value), self.name)


@dataclass(frozen=True)
class ForgetIndices(Request):
    """Forget single training images, such as those of people who withdraw consent.

    Attributes:
        indices: Positions in `source.train`, from 0, without duplicates; stored as a tuple.

    Raises:
        TypeError: The indices are not integers.
        ValueError: There are none, one is negative, or one occurs twice. (`split` refuses an index
            that is too large.)
    """

    indices: Iterable[int]

    def __post_init__(self):
        got = np.asarray(self.indices if hasattr(self.indices, "__len__") else list(self.indices))
        if got.size == 0:
            raise ValueError("forget: indices is empty; expected at least one index")
        if got.ndim != 1 or got.dtype.kind not in "iu":
            raise TypeError(
                f"forget: indices must be a flat list of integers, got {got.dtype} of shape "
                f"{got.shape}. For a mask: np.flatnonzero(mask)"
            )
        if got.min() < 0:
            raise ValueError(f"forget: indices must be at least 0, got {got.min()}")
        values, counts = np.unique(got, return_counts=True)
        if counts.max() > 1:
            twice = listing(str(value) for value in values[counts > 1])
            raise ValueError(f"forget: indices must not repeat, got twice or more: {twice}")
        object.__setattr__(self, "indices", tuple(got.tolist()))

    def describe(self, source: Source) -> str:
        """Returns "3 listed images"."""
        return f"{len(self.indices):,} listed image{'s' if len(self.indices) > 1 else ''}"

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training images to forget, and that no test image is."""
        train, test = (np.zeros(len(dataset), bool) for dataset in (source.train, source.test))
        if max(self.indices) >= len(train):
            raise ValueError(
                f"forget: indices must be below {len(train):,}, the number of training images, got "
                f"{max(self.indices):,}"
            )
        train[list(self.indices)] = True
        return train, test


@dataclass(frozen=True)
class ForgetWhere(Request):
    """Forget the images that a function selects.

    Attributes:
        predicate: `predicate(dataset) -> bool [n]`, from images and attributes.
        description: The request in words, such as "dark images".

    Example:
        >>> from gsu_jax.data import load
        >>> dark = ForgetWhere(lambda dataset: dataset.images.mean((1, 2, 3)) < 0.25, "dark images")
        >>> dark.split(load("digits")).train.describe()
        'forget: 16 images (dark images); retain: 1,422 images'
    """

    predicate: Callable[[Dataset], np.ndarray]
    description: str

    def describe(self, source: Source) -> str:
        """Returns `description`."""
        return self.description

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""
        return self._mask(source.train), self._mask(source.test)

    def _mask(self, dataset: Dataset) -> np.ndarray:
        mask = np.asarray(self.predicate(dataset))
        if mask.dtype != bool or mask.shape != (len(dataset),):
            raise TypeError(
                f"forget: the predicate of {self.description!r} must return bool "
                f"[{len(dataset)}], got {mask.dtype} of shape {mask.shape}"
            )
        return mask


def _classes(attribute: str, source: Source) -> tuple[str, ...]:
    if attribute not in source.classes:
        raise unknown("forget", "attribute", attribute, source.classes)
    return source.classes[attribute]
