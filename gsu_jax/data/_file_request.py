"""The request to forget images by their names."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsu_jax.checks import listing, near
from gsu_jax.data._dataset import Source
from gsu_jax.data._request import Request


@dataclass(frozen=True)
class ForgetFiles(Request):
    """Forget single training images by their names: `ForgetFiles(["cat/17.png", "42.png"])`.

    Attributes:
        files: Names as in `Dataset.names`, or their ends, such as "17.png" for "cat/17.png", if
            only one name ends so. Stored as a tuple.

    Raises:
        TypeError: The files are not strings.
        ValueError: There are none. (`split` refuses a name that the source does not have, that
            fits several images, or that is held out as a test image.)

    Example:
        >>> from gsu_jax.data import Dataset
        >>> images, labels = np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 0, 1])
        >>> names = np.array(["cat/1.png", "cat/2.png", "dog/1.png"])
        >>> train = Dataset(images, {"pet": labels}, names)
        >>> source = Source("pets", train, train.take([]), {"pet": ("cat", "dog")}, "pet")
        >>> ForgetFiles(["2.png"]).masks(source)[0].tolist()
        [False, True, False]
    """

    files: Iterable[str]

    def __post_init__(self):
        files = (self.files,) if isinstance(self.files, str) else tuple(self.files)
        if not files:
            raise ValueError("forget: files is empty; expected at least one name")
        for name in files:
            if not isinstance(name, str):
                raise TypeError(f"forget: files must be names of images, got {name!r}")
        object.__setattr__(self, "files", files)

    def describe(self, source: Source) -> str:
        """Returns "3 named images"."""
        return f"{len(self.files):,} named image{'s' if len(self.files) > 1 else ''}"

    def masks(self, source: Source) -> tuple[np.ndarray, np.ndarray]:
        """Returns which training images to forget, and that no test image is."""
        if source.train.names is None:
            raise ValueError(
                f"forget: the images of {source.name} have no names; give indices:0,5,17"
            )
        names, of_test = source.train.names, source.test.names
        train, test = (np.zeros(len(dataset), bool) for dataset in (source.train, source.test))
        train[[_find(name, names, of_test, source.name) for name in self.files]] = True
        return train, test


def parse_files(text: str) -> ForgetFiles:
    """Parses `a.png,b.png,@LIST`: names, and files with a name in each line."""
    names: list[str] = []
    for word in text.split(","):
        word = word.strip()
        names += _read_names(word[1:]) if word.startswith("@") else [word] * bool(word)
    return ForgetFiles(names)


def _read_names(path: str) -> list[str]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"forget: cannot read the names in {path} ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _find(name: str, names: np.ndarray, of_test: np.ndarray | None, source: str) -> int:
    """Returns the position of the training image of that name, or of the one that ends so."""
    found = _matches(name, names)
    if len(found) == 1:
        return int(found[0])
    if len(found) > 1:
        fits = listing(str(some) for some in names[found])
        raise ValueError(f"forget: {name!r} fits {len(found)} images: {fits}; give a whole name")
    if of_test is not None and len(_matches(name, of_test)):
        raise ValueError(
            f"forget: {name!r} is a test image of {source}, which no model was trained on; "
            "load the images with holdout=0 if it was"
        )
    known = [str(some) for some in names]
    raise ValueError(
        f"forget: no image of {source} is called {name!r}.{near(name, known)} Names are such "
        f"as {known[0]}"
    )


def _matches(name: str, names: np.ndarray) -> np.ndarray:
    exact = np.flatnonzero(names == name)
    return exact if len(exact) else np.flatnonzero(np.char.endswith(names, f"/{name}"))
