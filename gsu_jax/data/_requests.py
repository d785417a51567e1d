"""The requests for classes, for an attribute, and by a predicate."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from gsu_jax.checks import listing, unknown
from gsu_jax.data._dataset import FLAG, Dataset, Source
from gsu_jax.data._request import Request


class ClassRequest(Request):
    """Forget every image of some classes of one attribute: what a judge can see in samples."""

    @abstractmethod
    def target(self, source: Source) -> tuple[str, tuple[int, ...]]:
        """Returns the attribute and the numbers of its classes that are forgotten.

        Raises:
            ValueError: The attribute or a class is unknown.

        Example:
            >>> from gsu_jax.data import load
            >>> (ForgetClass("3") | ForgetClass("8")).target(load("digits"))
            ('label', (3, 8))
        """

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""
        attribute, numbers = self.target(source)
        train, test = (
            np.isin(dataset.attributes[attribute], numbers)
            for dataset in (source.train, source.test)
        )
        return train, test


@dataclass(frozen=True)
class ForgetClasses(ClassRequest):
    """Forget every image of several classes: `ForgetClass("1") | ForgetClass("3")`.

    Attributes:
        values: The names of the classes, without duplicates; stored as a tuple of strings.
        attribute: The attribute that has these classes; the source's label if None.

    Raises:
        TypeError: The values are not a list of names.
        ValueError: There are none, or one occurs twice. (`split` refuses an unknown one.)

    Example:
        >>> from gsu_jax.data import load
        >>> ForgetClasses(["1", "3"]).split(load("digits")).train.describe()
        'forget: 292 images (classes 1, 3); retain: 1,146 images'
    """

    values: Iterable[str | int]
    attribute: str | None = None

    def __post_init__(self):
        if isinstance(self.values, str | bytes) or not isinstance(self.values, Iterable):
            raise TypeError(
                f'forget: values must be a list of classes such as ["1", "3"], got {self.values!r}'
            )
        values = tuple(self.values)
        for value in values:
            _check_class(value)
        values = tuple(str(value) for value in values)
        if not values or len(set(values)) < len(values):
            raise ValueError(
                f"forget: values must be at least one class, each once, got {list(values)}"
            )
        object.__setattr__(self, "values", values)

    def __or__(self, other: "ForgetClass | ForgetClasses") -> "ForgetClasses":
        return _join(self, other)

    def describe(self, source: Source) -> str:
        """Returns "classes 1, 3", or "shape heart, square" for an attribute but the label."""
        plain = self.attribute in (None, source.label)
        kind = ("classes" if len(self.values) > 1 else "class") if plain else self.attribute
        return f"{kind} {', '.join(map(str, self.values))}"

    def target(self, source: Source) -> tuple[str, tuple[int, ...]]:
        """Returns the attribute and the numbers of its classes that are forgotten."""
        attribute = source.label if self.attribute is None else self.attribute
        names = _classes(attribute, source)
        for value in self.values:
            if value not in names:
                raise unknown("forget", f"class of {attribute}", value, names)
        return attribute, tuple(names.index(value) for value in self.values)


@dataclass(frozen=True)
class ForgetClass(ClassRequest):
    """Forget every image of one class.

    Attributes:
        value: The name of the class; 1 is the class named "1", whatever its number is.
        attribute: The attribute that has this class; the source's label if None.

    Raises:
        TypeError: The value is neither a string nor an integer.

    Example:
        >>> from gsu_jax.data import load
        >>> ForgetClass(1).split(load("digits")).train.counts
        {'forget': 146, 'retain': 1292}
        >>> ForgetClass(1) | ForgetClass(3)
        ForgetClasses(values=('1', '3'), attribute=None)
    """

    value: str | int
    attribute: str | None = None

    def __post_init__(self):
        _check_class(self.value)

    def __or__(self, other: "ForgetClass | ForgetClasses") -> ForgetClasses:
        return _join(self, other)

    def describe(self, source: Source) -> str:
        """Returns "class 1", or "shape heart" for an attribute other than the label."""
        return ForgetClasses((self.value,), self.attribute).describe(source)

    def target(self, source: Source) -> tuple[str, tuple[int, ...]]:
        """Returns the attribute and the number of its class that is forgotten."""
        return ForgetClasses((self.value,), self.attribute).target(source)


@dataclass(frozen=True)
class ForgetAttribute(ClassRequest):
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

    def target(self, source: Source) -> tuple[str, tuple[int, ...]]:
        """Returns the attribute and the number of its class that is forgotten."""
        names = _classes(self.name, source)
        if self.value is True and names != FLAG:
            raise ValueError(
                f"forget: {self.name} is not boolean; give a value, such as "
                f"{self.name}={names[0]}. Known: {listing(names)}"
            )
        return ForgetClasses((str(self.value),), self.name).target(source)


@dataclass(frozen=True)
class ForgetWhere(Request):
    """Forget the images that a function selects.

    Attributes:
        predicate: `predicate(dataset) -> bool [n]`, from images and attributes.
        description: The request in words, such as "dark images".

    Raises:
        TypeError: The predicate cannot be called.

    Example:
        >>> from gsu_jax.data import load
        >>> dark = ForgetWhere(lambda dataset: dataset.images.mean((1, 2, 3)) < 0.25, "dark images")
        >>> dark.split(load("digits")).train.describe()
        'forget: 16 images (dark images); retain: 1,422 images'
    """

    predicate: Callable[[Dataset], np.ndarray]
    description: str

    def __post_init__(self):
        if not callable(self.predicate):
            raise TypeError(
                "forget: predicate must be a function of a Dataset, got "
                f"{type(self.predicate).__name__}. For a mask: ForgetIndices(np.flatnonzero(mask))"
            )

    def describe(self, source: Source) -> str:
        """Returns `description`."""
        return self.description

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""
        return self._mask(source.train), self._mask(source.test)

    def _mask(self, dataset: Dataset) -> np.ndarray:
        if not len(dataset):  # such as the test images of load(..., holdout=0)
            return np.zeros(0, bool)
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


def _check_class(value: object) -> None:
    if not isinstance(value, str | int | np.integer | np.bool_):
        raise TypeError(
            f"forget: a class must be a name or a number such as 1, got {value!r}. Several: "
            'ForgetClasses(["1", "3"])'
        )


def _join(first: ForgetClass | ForgetClasses, second: object) -> ForgetClasses:
    if not isinstance(second, ForgetClass | ForgetClasses):
        return NotImplemented
    if first.attribute != second.attribute:
        raise ValueError(
            "forget: classes that are joined by | must be of one attribute, got "
            f"{first.attribute!r} and {second.attribute!r}. For several attributes: ForgetWhere"
        )
    values = [
        value
        for request in (first, second)
        for value in (request.values if isinstance(request, ForgetClasses) else [request.value])
    ]
    return ForgetClasses(dict.fromkeys(str(value) for value in values), first.attribute)
