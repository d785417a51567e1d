"""A user's own images in one .npz file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gsu_jax.checks import listing
from gsu_jax.data._dataset import FLAG, Dataset, Source, check_stored_images
from gsu_jax.data.sources._holdout import hold_out

TEST = "test_"
DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path) -> Source:
    """The source in `path`: `images` and `labels`, optionally `test_images` and `test_labels`.

    Images are `[n, height, width, channels]` or `[n, height, width]`, uint8 or float in [0, 1]
    (kept as float32). Every other array `[n]` is an attribute, with `test_NAME` beside it where
    there are test images. Labels and attributes are integers, booleans or strings; classes are
    named by their values and numbered in sorted order. Without a test part a fixed fifth of every
    class is held out.

    Raises:
      TypeError: pickled objects, images or values of an unusable dtype.
      ValueError: no .npz, `images` or `labels` missing, lengths that differ, images out of range.
    """
    arrays = _load(path)
    for name in ("images", "labels"):
        if name not in arrays:
            raise ValueError(f"{path}: there is no array {name!r}, found {listing(arrays)}.")
    has_test = "test_images" in arrays
    if not has_test and "test_labels" in arrays:
        raise ValueError(f"{path}: test_labels without test_images; give both or neither.")
    images = _as_images(arrays["images"], f"{path}: images")
    names = [
        name
        for name, values in arrays.items()
        if name != "images" and not name.startswith(TEST) and values.shape == (len(images),)
    ]
    if "labels" not in names:
        raise ValueError(
            f"{path}: labels must have one value for each of the {len(images):,} images, found "
            f"shape {arrays['labels'].shape}."
        )
    parts = [(images, "")]
    if has_test:
        parts.append((_as_images(arrays["test_images"], f"{path}: test_images"), TEST))
    classes, columns = {}, {}
    for name in names:
        values = [_column(arrays, prefix + name, len(part), path) for part, prefix in parts]
        attribute = "label" if name == "labels" else name
        if attribute in classes:
            raise ValueError(f"{path}: both {attribute!r} and 'labels'; rename one of them.")
        classes[attribute], columns[attribute] = _number(values)
    datasets = [
        Dataset(part, {name: values[i] for name, values in columns.items()})
        for i, (part, _) in enumerate(parts)
    ]
    train, test = datasets if has_test else hold_out(datasets[0], "label")
    return Source(path.stem, train, test, classes, "label")


def _load(path: Path) -> dict[str, np.ndarray]:
    # The file is opened here because np.load leaves it open where the archive is damaged.
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except DAMAGE as error:
            # NumPy takes what it does not know for a pickle, and advises to load it: never here.
            reason = "" if "pickle" in str(error) else f" ({error})"
            raise ValueError(
                f"{path}: no readable .npz{reason}. Write it with np.savez(path, images=..., "
                "labels=...)."
            ) from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(
                f"{path}: one array alone; write np.savez(path, images=..., labels=...)."
            )
        return {name: _array(archive, name, path) for name in archive.files}


def _array(archive: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        return archive[name]
    except DAMAGE as error:
        if "allow_pickle" not in str(error):
            raise ValueError(f"{path}: array {name!r} is damaged ({error}).") from error
        raise TypeError(
            f"{path}: array {name!r} holds pickled Python objects, which are never loaded: they "
            "can run code. Save it as numbers or strings, for example with "
            "np.asarray(values, dtype=str)."
        ) from error


def _as_images(images: np.ndarray, argument: str) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype in (np.float16, np.float64):
        images = images.astype(np.float32)
    check_stored_images(images, argument)
    return images


def _column(arrays: dict[str, np.ndarray], name: str, length: int, path: Path) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"{path}: there is no array {name!r}, found {listing(arrays)}.")
    values = arrays[name]
    if values.shape != (length,):
        raise ValueError(
            f"{path}: {name} must have one value for each of the {length:,} images, found shape "
            f"{values.shape}."
        )
    if values.dtype.kind not in "biuU":
        raise TypeError(
            f"{path}: {name} must be integers, booleans or strings, found {values.dtype}. "
            "Convert it, or leave it out."
        )
    return values


def _number(parts: list[np.ndarray]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Class names, and every part as numbers of classes (booleans stay booleans)."""
    if all(part.dtype == bool for part in parts):
        return FLAG, parts
    values, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return tuple(str(v) for v in values), np.split(numbers.astype(np.int32), ends)
