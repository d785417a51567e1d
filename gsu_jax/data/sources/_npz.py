"""Reads images from a `.npz` file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gsu_jax.checks import listing
from gsu_jax.data._dataset import FLAG, Dataset, Source
from gsu_jax.data._images import check_stored_images
from gsu_jax.data.sources._holdout import HOLDOUT_SHARE, check_no_holdout, hold_out

TEST = "test_"
DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path, holdout: float | None = None) -> Source:
    """Reads `images` and `labels`, optionally `test_images` and `test_labels`.

    Images are `[n, height, width, channels]` or `[n, height, width]`, uint8 or float in [0, 1]
    (stored as float32). Strings `names` `[n]` are the names of the images. Every other array `[n]`
    is an attribute. Both need `test_NAME` beside them if there are test images. Labels and
    attributes are integers, booleans or strings. Their values name the classes, numbered in sorted
    order.

    Args:
        path: The file.
        holdout: The share of every class that is the test set, if the file has no test images; by
            default a fifth.

    Returns:
        The source.

    Raises:
        TypeError: The file has pickled objects, or images or values of an unsupported dtype.
        ValueError: The file is not a `.npz`, `images` or `labels` are missing, lengths differ,
            images are out of range, or `holdout` is given though there are test images.
    """
    arrays = _load(path)
    has_test = "test_images" in arrays
    if not has_test and "test_labels" in arrays:
        raise ValueError(f"{path}: test_labels without test_images; give both or neither")
    if has_test:
        check_no_holdout(holdout, f"{path} has test images")
    prefixes = ("", TEST) if has_test else ("",)
    images = [_images(arrays, f"{prefix}images", path) for prefix in prefixes]
    names: list[np.ndarray | None] = [None for _ in prefixes]
    if _has_names(arrays, len(images[0])):
        names = [
            _names(arrays, f"{prefix}names", len(some), path)
            for prefix, some in zip(prefixes, images, strict=True)
        ]
    attributes = [
        name
        for name, values in arrays.items()
        if name not in ("images", "labels")
        and not (name == "names" and names[0] is not None)
        and not name.startswith(TEST)
        and values.shape == (len(images[0]),)
    ]
    classes, columns = {}, {}
    for name in ("labels", *attributes):
        values = [
            _column(arrays, prefix + name, len(some), path)
            for prefix, some in zip(prefixes, images, strict=True)
        ]
        attribute = "label" if name == "labels" else name
        if attribute in classes:
            raise ValueError(f"{path}: both {attribute!r} and 'labels'; rename one of them")
        classes[attribute], columns[attribute] = _number(values)
    datasets = [
        Dataset(some, {name: values[i] for name, values in columns.items()}, names[i])
        for i, some in enumerate(images)
    ]
    share = HOLDOUT_SHARE if holdout is None else holdout
    train, test = datasets if has_test else hold_out(datasets[0], "label", share)
    return Source(path.stem, train, test, classes, "label")


def _load(path: Path) -> dict[str, np.ndarray]:
    # np.load leaves a file that it opens itself open if the archive is damaged.
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except DAMAGE as error:
            # NumPy takes an unknown format for a pickle and advises to load it, which is unsafe.
            reason = "" if "pickle" in str(error) else f" ({error})"
            raise ValueError(
                f"{path}: not a readable .npz{reason}. Write it with np.savez(path, images=..., "
                "labels=...)"
            ) from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(
                f"{path}: a single array. Write np.savez(path, images=..., labels=...)"
            )
        return {name: _array(archive, name, path) for name in archive.files}


def _array(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        return archive[name]
    except DAMAGE as error:
        if "allow_pickle" not in str(error):
            raise ValueError(f"{path}: array {name!r} is damaged ({error})") from error
        raise TypeError(
            f"{path}: array {name!r} holds pickled Python objects, which are never loaded: they "
            "can run code. Save it as numbers or strings, for example with "
            "np.asarray(values, dtype=str)"
        ) from error


def _get(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"{path}: no array {name!r}, got {listing(arrays)}")
    return arrays[name]


def _images(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    images = _get(arrays, name, path)
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype in (np.float16, np.float64):
        images = images.astype(np.float32)
    check_stored_images(images, f"{path}: {name}")
    return images


def _column(arrays: dict[str, np.ndarray], name: str, length: int, path: Path) -> np.ndarray:
    values = _get(arrays, name, path)
    if values.shape != (length,):
        raise ValueError(
            f"{path}: {name} must have one value for each of the {length:,} images, got shape "
            f"{values.shape}"
        )
    if values.dtype.kind not in "biuU":
        raise TypeError(
            f"{path}: {name} must be integers, booleans or strings, got {values.dtype}. "
            "Convert it, or leave it out"
        )
    return values


def _has_names(arrays: dict[str, np.ndarray], length: int) -> bool:
    """Whether `names` are strings, one for each image; else they are what any array is."""
    names = arrays.get("names")
    return names is not None and names.dtype.kind in "US" and names.shape == (length,)


def _names(arrays: dict[str, np.ndarray], name: str, length: int, path: Path) -> np.ndarray:
    names = _get(arrays, name, path)
    if names.dtype.kind == "S":
        try:
            names = np.char.decode(names, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: {name} must be text in UTF-8, got {error.object!r}"
            ) from error
    if names.dtype.kind != "U":
        raise TypeError(f"{path}: {name} must be strings as names are, got {names.dtype}")
    return _column(arrays | {name: names}, name, length, path)


def _number(columns: list[np.ndarray]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Returns class names, and the columns as class numbers (booleans stay booleans)."""
    if all(column.dtype == bool for column in columns):
        return FLAG, columns
    values, numbers = np.unique(np.concatenate(columns), return_inverse=True)
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return tuple(str(v) for v in values), np.split(numbers.astype(np.int32), ends)
