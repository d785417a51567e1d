"""Loads images of any origin by name, and caches the decoded arrays on disk."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.checks import at_least, in_range, integer
from gsu_jax.data._dataset import Dataset, Source, keep_classes
from gsu_jax.data._resize import resize_images
from gsu_jax.data.sources import _cache as cache
from gsu_jax.data.sources._digits import digits_key, read_digits
from gsu_jax.data.sources._folder import folder_key, read_folder
from gsu_jax.data.sources._holdout import HOLDOUT_SHARE, check_no_holdout
from gsu_jax.data.sources._npz import read_npz
from gsu_jax.data.sources._tfds import read_tfds
from gsu_jax.data.sources._tfds_folder import ACCEPTED, data_folder, locate

TFDS_NAME = re.compile(r"\w+(/[\w.-]+)?")
Progress = Callable[[int, int], None]


def load(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    classes: Sequence[str | int] | None = None,
    image_size: int | None = None,
    holdout: float | None = None,
    progress: Progress | None = None,
) -> Source:
    """Loads training and test images.

    - `"digits"`: scikit-learn's 1,797 digits, float32 `[n, 8, 8, 1]`; needs no download.
    - `"mnist"`, `"celeb_a"`, `"name/config"`: a data set that TensorFlow Datasets (TFDS) prepared
      as array_record in `data_dir`; reading it needs no TensorFlow.
    - A path to a `.npz` file with arrays `images` and `labels`, optionally `test_images` and
      `test_labels`; strings `names` are the names of the images, every other array `[n]` is an
      attribute.
    - A path to a folder with `CLASS/*.png` or `.jpg`, optionally below `train/` and `test/`.
      `"./mnist"` is always a folder; `"mnist"` is one only if `data_dir` has no such data set.

    A source without a test set gets a fixed one: a fifth of every class, or the share `holdout`.

    The cache keeps decoded images, except those of a `.npz` file, and checks their SHA-256 before
    use. A changed origin is decoded again. If the cache cannot be written, the log says so. Cached
    images are mapped into memory, so the system may drop their pages again.

    Args:
        name: The images, see above.
        data_dir: The folder of TFDS; by default $TFDS_DATA_DIR, then the default of TFDS.
        cache_dir: The folder of decoded images; by default $GSU_JAX_CACHE_DIR, then `gsu_jax` in
            $XDG_CACHE_HOME or ~/.cache.
        classes: The classes of the default label to keep, by name; all by default. They are
            renumbered 0..k-1 in this order.
        image_size: Crops the center square and resizes it to this number of pixels, by means of
            squares if the side is a multiple, else by Lanczos; by default images are unchanged.
        holdout: The share of every class that is held out as test images, in [0, 1), if the source
            has no test images of its own; by default 0.2. 0 makes every image a training image, and
            the test set is empty. A larger share holds out the same images and more.
        progress: Called as `progress(done, total)` while images are decoded.

    Returns:
        The source.

    Raises:
        ImportError: A package of the extra `experiments` is missing.
        TypeError: An argument, an array or an image has an unsupported type.
        ValueError: The data set is unknown or not prepared, a class is unknown, images or labels
            are unusable, or `holdout` is given for a source that has test images.

    Example:
        >>> source = load("digits", classes=("1", "3", "8"))
        >>> source.image_shape, source.classes
        ((8, 8, 1), {'label': ('1', '3', '8')})
    """
    if image_size is not None:
        integer(image_size=image_size)
        at_least(1, image_size=image_size)
    classes = _check_classes(classes)
    if holdout is not None:
        in_range(0, 1, holdout=holdout)
        holdout = float(holdout)
    share = HOLDOUT_SHARE if holdout is None else holdout
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be a string or a path, got {type(name).__name__}")
    text = os.fspath(name)
    path = Path(text).expanduser()
    if path.suffix == ".npz":
        if not path.is_file():
            raise ValueError(f"name: the file {path} does not exist")
        return _finish(read_npz(path, holdout), classes, image_size)
    if text == "digits":
        key, build = digits_key(), partial(read_digits, share)
    elif _is_own_folder(name, text, path, data_dir):
        key = folder_key(path, holdout)
        build = partial(read_folder, path, image_size, progress, share)
        text = path.resolve().name
    elif path.is_file() and not _is_prepared(name, text, data_dir):
        raise ValueError(f"name: {path} is a file, but no .npz; expected {ACCEPTED}")
    elif not TFDS_NAME.fullmatch(text):
        raise ValueError(f"name: {path} does not exist; expected {ACCEPTED}")
    else:
        located = locate(text, data_dir)
        if located.test_split is not None:
            check_no_holdout(holdout, f"{text} has a split {located.test_split}")
        key = located.key()
        build = partial(read_tfds, located, classes, image_size, progress, share)

    key = {"name": text, "origin": key, "classes": classes, "image_size": image_size}
    if share != HOLDOUT_SHARE:  # so that entries of the usual share keep their names
        key["holdout"] = share
    entry = cache.entry_path(cache.cache_folder(cache_dir), text, key)
    kept = cache.read(entry, key)
    if kept is not None:
        return _unpack(*kept)
    packed = _pack(_finish(build(), classes, image_size))
    cache.write(entry, key, *packed)
    # Maps the cached arrays, so that the decoded ones can be freed.
    return _unpack(*(cache.read(entry, key) or packed))


def clear_cache(
    name: str | os.PathLike | Source | None = None, cache_dir: str | os.PathLike | None = None
) -> list[Path]:
    """Removes decoded images from the cache, so that no copy of a removed image stays there.

    Args:
        name: What `load` was given, or a source that it returned; everything by default. All
            entries of this name go, whatever their options, and also those of another folder of the
            same name. The images themselves may be gone already.
        cache_dir: The folder of decoded images, as in `load`.

    Returns:
        The files that were removed; none for a `.npz` file, which is never copied.

    Raises:
        OSError: A file cannot be removed.
        TypeError: The name is neither a string, a path nor a source.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> digits = load("digits", cache_dir=folder)
        >>> len(clear_cache("digits", folder))
        1
    """
    if isinstance(name, Source):
        name = name.name
    if name is not None and not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be a string, a path or a source, got {type(name).__name__}")
    folder = cache.cache_folder(cache_dir)
    if name is None:
        return cache.remove(folder, None)
    text = os.fspath(name)
    return cache.remove(folder, {text, Path(text).expanduser().resolve().name})


def settled_name(name: str | os.PathLike, folder: str | os.PathLike = ".") -> str:
    """Returns the name by which `load` finds the same images from every working folder.

    Args:
        name: What `load` takes, where a path is relative to `folder`.
        folder: By default the working folder.

    Example:
        >>> settled_name("digits")
        'digits'
    """
    text = os.fspath(name)
    path = Path(folder, Path(text).expanduser())
    if text == "digits" or _is_prepared(name, text, None) or not path.exists():
        return text
    return str(path.resolve())


def _is_own_folder(name: Any, text: str, path: Path, data_dir: str | os.PathLike | None) -> bool:
    return path.is_dir() and not _is_prepared(name, text, data_dir)


def _is_prepared(name: Any, text: str, data_dir: str | os.PathLike | None) -> bool:
    is_name = isinstance(name, str) and TFDS_NAME.fullmatch(text) is not None
    return is_name and (data_folder(data_dir) / text).is_dir()


def _finish(source: Source, classes: Sequence[str] | None, image_size: int | None) -> Source:
    source = keep_classes(source, classes)
    if image_size is None or source.image_shape[:2] == (image_size, image_size):
        return source
    train, test = (
        Dataset(resize_images(dataset.images, image_size), dataset.attributes, dataset.names)
        for dataset in (source.train, source.test)
    )
    return Source(source.name, train, test, source.classes, source.label)


def _check_classes(classes: Any) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if isinstance(classes, str) or not isinstance(classes, Sequence | np.ndarray):
        raise TypeError(f'classes must be a list of names such as ("1", "3"), got {classes!r}')
    names = tuple(str(name) for name in classes)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"classes must name at least one class, each once, got {list(names)}")
    return names


def _pack(source: Source) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header = {
        "name": source.name,
        "classes": {name: list(names) for name, names in source.classes.items()},
        "label": source.label,
        "fingerprint": source.fingerprint,
    }
    arrays = {}
    for split, dataset in (("train", source.train), ("test", source.test)):
        arrays[f"{split}.images"] = dataset.images
        for name, values in dataset.attributes.items():
            arrays[f"{split}.attributes.{name}"] = values
        if dataset.names is not None:
            arrays[f"{split}.names"] = dataset.names
    return header, arrays


def _unpack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Source:
    train, test = (
        Dataset(
            arrays[f"{split}.images"],
            {name: arrays[f"{split}.attributes.{name}"] for name in header["classes"]},
            arrays.get(f"{split}.names"),
        )
        for split in ("train", "test")
    )
    classes = {name: tuple(names) for name, names in header["classes"].items()}
    return Source(header["name"], train, test, classes, header["label"], header["fingerprint"])
