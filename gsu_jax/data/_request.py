"""A request to forget images, and the splits of a source that it makes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gsu_jax.data._dataset import Dataset, Source


@dataclass(frozen=True, eq=False)
class Split:
    """A data set in two: the images to forget and the images to retain, both in order.

    Attributes:
        dataset: All images.
        mask: Which images to forget, bool `[n]`.
        description: What is forgotten, in words.
    """

    dataset: Dataset
    mask: np.ndarray
    description: str

    @cached_property
    def forget(self) -> Dataset:
        """The images to forget."""
        return self.dataset.take(self.mask)

    @cached_property
    def retain(self) -> Dataset:
        """The images to retain."""
        return self.dataset.take(~self.mask)

    @property
    def counts(self) -> dict[str, int]:
        """The number of images on each side: `{"forget": ..., "retain": ...}`."""
        n_forget = int(self.mask.sum())
        return {"forget": n_forget, "retain": len(self.mask) - n_forget}

    def describe(self) -> str:
        """Returns both sides in words: "forget: 6,742 images (class 1); retain: 11,982 images"."""
        forget, retain = (f"{n:,} image{'' if n == 1 else 's'}" for n in self.counts.values())
        return f"forget: {forget} ({self.description}); retain: {retain}"


class SourceSplit(NamedTuple):
    """The splits of a source by one request.

    Attributes:
        train: The split of the training set. Neither side is empty.
        test: The split of the test set. A side may be empty.
    """

    train: Split
    test: Split


class Request(ABC):
    """What is to be forgotten; a subclass says which images of a source match."""

    @abstractmethod
    def describe(self, source: Source) -> str:
        """Returns the request in words, for reports."""

    @abstractmethod
    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training and which test images to forget, two boolean arrays."""

    def split(self, source: Source) -> SourceSplit:
        """Splits the training and the test set of `source`.

        Raises:
            TypeError: `source` is no `Source`, or a predicate returned something else than a mask.
            ValueError: The class, attribute or file is unknown, an index is out of range, or all or
                none of the training images match.

        Example:
            >>> from gsu_jax.data import ForgetIndices, load
            >>> train, test = ForgetIndices([0, 5, 17]).split(load("digits"))
            >>> train.describe()
            'forget: 3 images (3 listed images); retain: 1,435 images'
            >>> test.counts
            {'forget': 0, 'retain': 359}
        """
        if not isinstance(source, Source):
            raise TypeError(
                f"source must be a Source, as gsu_jax.data.load returns it, got "
                f"{type(source).__name__}"
            )
        train, test = self.masks(source)
        description = self.describe(source)
        if not train.any():
            raise ValueError(
                f"forget: no training image of {source.name} matches ({description}); nothing to "
                "forget"
            )
        if train.all():
            raise ValueError(
                f"forget: all {len(train):,} training images of {source.name} match "
                f"({description}); nothing to retain"
            )
        return SourceSplit(
            Split(source.train, train, description), Split(source.test, test, description)
        )
