"""The requests for single training images: by position, or by the name of the file."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gsu_jax.checks import listing, near
from gsu_jax.data._dataset import Source
from gsu_jax.data._request import Request

FOR_NAMES = "For names of files: ForgetFiles(names), or files:a.png,b.png"
MOST_COMPARED = 20_000  # names that a misspelled one is compared with: more take seconds


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
        if not isinstance(self.indices, Iterable):
            raise TypeError(f"forget: indices must be a list of integers, got {self.indices!r}")
        got = np.asarray(self.indices if hasattr(self.indices, "__len__") else list(self.indices))
        if got.dtype.kind in "US":
            raise TypeError(f"forget: indices must be integers, got {self.indices!r}. {FOR_NAMES}")
        if got.size == 0:
            raise ValueError("forget: indices is empty; expected at least one index")
        if got.ndim != 1 or got.dtype.kind not in "iu":
            raise TypeError(
                f"forget: indices must be a flat list of integers, got {got.dtype} of shape "
                f"{got.shape}. For a mask: np.flatnonzero(mask)"
            )
        if got.min() < 0:
            raise ValueError(f"forget: indices must be at least 0, got {got.min()}")
        indices = tuple(got.tolist())
        _check_once(indices, "indices")
        object.__setattr__(self, "indices", indices)

    def describe(self, source: Source) -> str:
        """Returns "3 listed images"."""
        return _listed(len(self.indices))

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training images to forget, and that no test image is."""
        if max(self.indices) >= len(source.train):
            raise ValueError(
                f"forget: indices must be below {len(source.train):,}, the number of training "
                f"images, got {max(self.indices):,}"
            )
        return _masks(source, self.indices)


@dataclass(frozen=True)
class ForgetFiles(Request):
    """Forget single training images by the names of their files.

    A name is a whole name of `source.train.names`, or the end of just one: "1898.png" for
    "Bag/1898.png". The name of the source may stand before a whole name: "photos/Bag/1898.png". If
    several training images share a whole name, all of them are forgotten.

    Attributes:
        names: Names of training images, without duplicates; stored as a tuple.

    Raises:
        TypeError: The names are not strings.
        ValueError: There are none, one is empty, or one occurs twice. (`split` refuses a name that
            belongs to no training image, or to several.)

    Example:
        >>> from gsu_jax.data import Dataset, Source
        >>> images, labels = np.zeros((3, 4, 4, 1), np.uint8), {"label": np.array([0, 0, 1])}
        >>> train = Dataset(images, labels, np.array(["Bag/1.png", "Bag/2.png", "Coat/1.png"]))
        >>> source = Source("photos", train, train.take([]), {"label": ("Bag", "Coat")}, "label")
        >>> ForgetFiles(["2.png", "Coat/1.png"]).indices(source)
        (1, 2)
    """

    names: Iterable[str]

    def __post_init__(self):
        if isinstance(self.names, str | bytes) or not isinstance(self.names, Iterable):
            raise TypeError(
                f'forget: names must be a list such as ["a.png", "b.png"], got {self.names!r}'
            )
        names = tuple(self.names)
        wrong = [name for name in names if not isinstance(name, str)]
        if wrong:
            raise TypeError(
                f"forget: names must be strings, got {listing(repr(name) for name in wrong)}. For "
                "positions: ForgetIndices(indices)"
            )
        if not names or not all(names):
            raise ValueError(
                f"forget: names must be at least one name, and none of them empty, got {names}"
            )
        names = tuple(str(name) for name in names)
        _check_once(names, "names")
        object.__setattr__(self, "names", names)

    def describe(self, source: Source) -> str:
        """Returns "3 listed images", the number of images that have these names."""
        return _listed(len(self.indices(source)))

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training images to forget, and that no test image is."""
        return _masks(source, self.indices(source))

    def indices(self, source: Source) -> tuple[int, ...]:
        """Returns the positions of these files in `source.train`, in order.

        Raises:
            ValueError: The images have no names, or a name belongs to no training image, to a test
                image, or to several images.
        """
        if source.train.names is None:
            raise ValueError(
                f"forget: the images of {source.name} have no names of files; give their positions "
                "in the training images: indices:0,5,17 or ForgetIndices([0, 5, 17]). A folder of "
                "images has names, and a .npz file with an array `names`"
            )
        train = source.train.names.tolist()
        test = [] if source.test.names is None else source.test.names.tolist()
        positions = defaultdict(list)
        for i, name in enumerate(train):
            positions[name].append(i)
        found, unknown, held_out = set(), [], []
        whole_name = _finder({*train, *test}, source.name)
        for given in self.names:
            name = whole_name(given)
            if name in positions:
                found.update(positions[name])
            else:
                (unknown if name is None else held_out).append(given)
        if unknown:
            known = train if "/" in unknown[0] else [name.rsplit("/", 1)[-1] for name in train]
            raise ValueError(
                f"forget: {source.name} has no image {_quoted(unknown)}."
                f"{near(unknown[0], known[:MOST_COMPARED])} Names are such as {train[0]!r}"
            )
        if held_out:
            raise ValueError(
                f"forget: {_quoted(held_out)} {'is' if len(held_out) == 1 else 'are'} among the "
                f"{len(test):,} test images of {source.name}, on which no model is trained: "
                f"{listing(test)}. Name training images. If load held them out, a smaller holdout= "
                "holds out fewer of them. A study needs some; unlearn alone takes "
                "load(..., holdout=0)"
            )
        return tuple(sorted(found))


def _finder(names: set[str], root: str) -> Callable[[str], str | None]:
    """Returns the function that finds the one name in `names` that a given name means, or None."""
    ends = defaultdict(list)
    for name in names:
        at = name.find("/")
        while at >= 0:
            ends[name[at + 1 :]].append(name)
            at = name.find("/", at + 1)

    def find(given: str) -> str | None:
        if given not in names:
            given = given.removeprefix("./")
        parts = given.split("/")
        below_root = ["/".join(parts[i + 1 :]) for i, part in enumerate(parts) if part == root]
        matches = [given] if given in names else ends.get(given, [])
        matches = matches or [name for name in below_root if name in names]
        if len(matches) > 1:
            raise ValueError(
                f"forget: {given!r} is the end of {len(matches)} names: "
                f"{_quoted(sorted(matches))}. Give more of the path"
            )
        return matches[0] if matches else None

    return find


def _check_once(values: Iterable[Any], argument: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        shown = listing(str(value) for value in sorted(twice))
        raise ValueError(f"forget: {argument} must not repeat, got twice or more: {shown}")


def _listed(count: int) -> str:
    return f"{count:,} listed image{'s' if count > 1 else ''}"


def _masks(source: Source, indices: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    train, test = (np.zeros(len(dataset), bool) for dataset in (source.train, source.test))
    train[list(indices)] = True
    return train, test


def _quoted(names: Iterable[str]) -> str:
    return listing(repr(name) for name in names)
