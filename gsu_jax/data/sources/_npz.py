"""Reads images from a `.npz` file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gsu_jax.checks import listing
from gsu_jax.data._dataset import FLAG, Dataset, Source
from gsu_jax.data._images import check_stored_images
from gsu_jax.data.sources._holdout import hold_out, refuse_holdout

TEST = "test_"
DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path, holdout: float | None = None) -> Source:
    """Reads `images` and `labels`, optionally `test_images` and `test_labels`.

    Images are `[n, height, width, channels]` or `[n, height, width]`, uint8 or float in [0, 1]
    (stored as float32). Strings `names` name the images, with `test_names` beside them if there are
    test images. Every other array `[n]` is an attribute, with `test_NAME` beside it. Labels and
    attributes are integers, booleans or strings. Their values name the classes, numbered in sorted
    order. Without test images a fixed fifth of every class, or `holdout`, is the test set.

    Args:
        path: The file.
        holdout: The share of every class that is held out where there are no test images.

    Returns:
        The source.

    Raises:
        TypeError: The file has pickled objects, or images or values of an unsupported dtype.
        ValueError: The file is not a `.npz`, `images` or `labels` are missing, lengths differ, or
            images are out of range.
    """
    arrays = _load(path)
    has_test = "test_images" in arrays
    if not has_test and "test_labels" in arrays:
        raise ValueError(f"{path}: test_labels without test_images; give both or neither")
    prefixes = ("", TEST) if has_test else ("",)
    images = [_images(arrays, f"{prefix}images", path) for prefix in prefixes]
    names = [None for _ in prefixes]
    if "names" in arrays and arrays["names"].dtype.kind == "U":
        names = [
            _column(arrays, prefix + "names", len(some), path)
            for prefix, some in zip(prefixes, images, strict=True)
        ]
        del arrays["names"]
    attributes = [
        name
        for name, values in arrays.items()
        if name not in ("images", "labels")
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
    if has_test:
        refuse_holdout(holdout, path)
    train, test = datasets if has_test else hold_out(datasets[0], "label", holdout)
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


def _number(columns: list[np.ndarray]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Returns class names, and the columns as class numbers (booleans stay booleans)."""
    if all(column.dtype == bool for column in columns):
        return FLAG, columns
    values, numbers = np.unique(np.concatenate(columns), return_inverse=True)
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return tuple(str(v) for v in values), np.split(numbers.astype(np.int32), ends)
