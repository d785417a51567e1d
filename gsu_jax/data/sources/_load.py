"""`load`: one name for every origin of images, with the decoded arrays kept on disk."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.data._dataset import Dataset, Source, keep_classes
from gsu_jax.data._resize import check_image_size, resize_images
from gsu_jax.data.sources import _cache as cache
from gsu_jax.data.sources._digits import digits_key, read_digits
from gsu_jax.data.sources._folder import folder_key, read_folder
from gsu_jax.data.sources._npz import read_npz
from gsu_jax.data.sources._tfds import read_tfds
from gsu_jax.data.sources._tfds_folder import data_folder, locate

TFDS_NAME = re.compile(r"\w+(/[\w.-]+)?")
Progress = Callable[[int, int], None]


def load(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    classes: Sequence[str | int] | None = None,
    image_size: int | None = None,
    progress: Progress | None = None,
) -> Source:
    """Loads the train and test images that `name` stands for.

    - `"digits"`: scikit-learn's 1,797 digits, float32 [n, 8, 8, 1]; needs no download.
    - A data set that TFDS prepared as array_record in `data_dir`: `"mnist"`, `"celeb_a"`,
      `"name/config"`. Read without TensorFlow.
    - A path to a `.npz` of the user's own: arrays `images` and `labels`, optionally `test_images`
      and `test_labels`; every other array `[n]` is an attribute.
    - A path to a folder of the user's own: `folder/CLASS/*.png` or `.jpg`, optionally with `train/`
      and `test/` above the classes. `"./mnist"` is always a folder, `"mnist"` only where TFDS has
      no such data set in `data_dir`.

    What has no test part gets a fixed one: a fifth of every class (`holdout.HOLDOUT_SEED`).

    Decoded images are kept in a cache and checked by their SHA-256 before they are used; a changed
    origin is decoded again; a cache that cannot be written costs a logged line and no more. (A
    .npz is not kept: it is an array already.) What comes from the cache is mapped, not read: pages
    of the file that the system may drop again, so that CelebA's 2 GB are not held beside a copy.

    Args:
      name: which images, see above.
      data_dir: the folder of TFDS; by default $TFDS_DATA_DIR, then TFDS' own default.
      cache_dir: the folder of decoded images; by default $GSU_JAX_CACHE_DIR, then `gsu_jax` in
        $XDG_CACHE_HOME or ~/.cache.
      classes: names of the classes of the default label to keep, all by default; the label is
        re-numbered 0..k-1 in this order.
      image_size: centre-crop to a square and resize to this many pixels: means of squares where
        the side is a whole multiple, else Lanczos; by default images stay as they are.
      progress: called as `progress(done, total)` from time to time while images are decoded.

    Returns:
      A `Source`.

    Raises:
      ImportError: a package of the extra `experiments` is missing.
      TypeError: an argument, or the content of a .npz or an image, of a wrong type.
      ValueError: unknown or unprepared data set, unknown class, unusable images or labels.
    """
    check_image_size(image_size)
    classes = _check_classes(classes)
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"name must be a string or a path, found {type(name).__name__}.")
    text = os.fspath(name)
    path = Path(text).expanduser()
    if path.suffix == ".npz":
        if not path.is_file():
            raise ValueError(f"name: the file {path} does not exist.")
        return _finish(read_npz(path), classes, image_size)
    if text == "digits":
        key, build = digits_key(), read_digits
    elif _is_own_folder(name, text, path, data_dir):
        key, build = folder_key(path), partial(read_folder, path, image_size, progress)
        text = path.resolve().name
    elif not TFDS_NAME.fullmatch(text):
        raise ValueError(f"name: the folder {path} does not exist.")
    else:
        located = locate(text, data_dir)
        key, build = located.key(), partial(read_tfds, located, classes, image_size, progress)

    key = {"name": text, "origin": key, "classes": classes, "image_size": image_size}
    file_name = re.sub(r"[^\w.-]", "_", text)
    entry = cache.entry_path(cache.cache_folder(cache_dir), file_name, key)
    kept = cache.read(entry, key)
    if kept is not None:
        return _unpack(*kept)
    packed = _pack(_finish(build(), classes, image_size))
    cache.write(entry, key, *packed)
    # Mapped from now on: the decoded arrays are let go of.
    return _unpack(*(cache.read(entry, key) or packed))


def _is_own_folder(name: Any, text: str, path: Path, data_dir: str | os.PathLike | None) -> bool:
    if not path.is_dir():
        return False
    is_name = isinstance(name, str) and TFDS_NAME.fullmatch(text) is not None
    return not (is_name and (data_folder(data_dir) / text).is_dir())


def _finish(source: Source, classes: Sequence[str] | None, image_size: int | None) -> Source:
    source = keep_classes(source, classes)
    if image_size is None or source.image_shape[:2] == (image_size, image_size):
        return source
    train, test = (
        Dataset(resize_images(part.images, image_size), part.attributes)
        for part in (source.train, source.test)
    )
    return Source(source.name, train, test, source.classes, source.label)


def _check_classes(classes: Any) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if isinstance(classes, str) or not isinstance(classes, Sequence | np.ndarray):
        raise TypeError(f'classes must be a list of names such as ("1", "3"), found {classes!r}.')
    names = tuple(str(name) for name in classes)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"classes must name at least one class, each once, found {list(names)}.")
    return names


def _pack(source: Source) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header = {
        "name": source.name,
        "classes": {name: list(names) for name, names in source.classes.items()},
        "label": source.label,
        "fingerprint": source.fingerprint,
    }
    arrays = {}
    for part, dataset in (("train", source.train), ("test", source.test)):
        arrays[f"{part}.images"] = dataset.images
        for name, values in dataset.attributes.items():
            arrays[f"{part}.attributes.{name}"] = values
    return header, arrays


def _unpack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Source:
    train, test = (
        Dataset(
            arrays[f"{part}.images"],
            {name: arrays[f"{part}.attributes.{name}"] for name in header["classes"]},
        )
        for part in ("train", "test")
    )
    classes = {name: tuple(names) for name, names in header["classes"].items()}
    return Source(header["name"], train, test, classes, header["label"], header["fingerprint"])
