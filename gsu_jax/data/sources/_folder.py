"""Reads a folder of images: `folder/CLASS/*.png`, or `folder/{train,test}/CLASS/*.png`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gsu_jax.checks import import_extra
from gsu_jax.data._dataset import Dataset, Source
from gsu_jax.data._resize import resize_picture
from gsu_jax.data.sources._holdout import HOLDOUT_SHARE, check_no_holdout, hold_out

SUFFIXES = (".png", ".jpg", ".jpeg")
GRAY_MODES = ("1", "L")
COLOR_MODES = ("P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
Files = list[tuple[Path, str]]
Progress = Callable[[int, int], None]


def find_files(folder: Path) -> dict[str, Files]:
    """Returns {"train": [(file, class), ...], "test": ...}, or {"all": ...} without a test set.

    Raises:
        ValueError: There are no class folders with images, or test images without training images.
    """
    splits = {split: _class_files(folder / split) for split in ("train", "test")}
    if not splits["train"] and not splits["test"]:
        splits = {"all": _class_files(folder)}
    elif not splits["test"]:
        splits = {"all": splits["train"]}
    if not next(iter(splits.values())):
        raise ValueError(
            f"{folder}: no images. Expected one folder for each class with files that end in "
            f"{', '.join(SUFFIXES)}: {folder.name}/CLASS/*.png, or {folder.name}/train/CLASS/ "
            f"and {folder.name}/test/CLASS/"
        )
    return splits


def folder_key(folder: Path, holdout: float | None = None) -> list[Any]:
    """Returns what the decoded folder depends on: path, size and time of every file.

    The last word sets entries with the names of the files apart from older ones without.

    Raises:
        ValueError: As in `find_files`; or `holdout` is given though there is a folder `test`.
    """
    splits = find_files(folder)
    if "test" in splits:
        check_no_holdout(holdout, f"{folder} has a folder test")
    files = [file for split in splits.values() for file, _ in split]
    states = [(file, file.stat()) for file in files]
    return [
        str(folder.resolve()),
        [[str(f.relative_to(folder)), s.st_size, s.st_mtime_ns] for f, s in states],
        "names",
    ]


def read_folder(
    folder: Path,
    image_size: int | None,
    progress: Progress | None,
    holdout: float = HOLDOUT_SHARE,
) -> Source:
    """Reads uint8 images: gray if all of them are gray, else RGB.

    The name of an image is its path in the folder, such as "Bag/1898.png".

    Args:
        folder: The folder.
        image_size: Crops and resizes the images to this number of pixels, if given.
        progress: Called with (images decoded, images in all), if given.
        holdout: The share of every class that is the test set, if there is no folder of one.

    Returns:
        The source.

    Raises:
        ImportError: Pillow is not installed.
        TypeError: An image does not have 8 bits a channel.
        ValueError: A file is not an image, or sizes differ and `image_size` is None.
    """
    pillow = import_extra("PIL.Image", "pillow", "a folder of images")
    splits = find_files(folder)
    files = [entry for split in splits.values() for entry in split]
    mode = _common_mode(pillow, [file for file, _ in files], image_size)
    names = sorted({name for _, name in files}, key=_numbers_first)
    images = None
    for i, (file, _) in enumerate(files):
        try:
            with pillow.open(file) as picture:
                image = np.asarray(resize_picture(picture.convert(mode), image_size))
        except OSError as error:
            raise ValueError(f"{file}: cannot be decoded ({error})") from error
        if images is None:
            images = np.empty((len(files), *image.shape[:2], 1 if mode == "L" else 3), np.uint8)
        images[i] = image.reshape(images.shape[1:])
        if progress is not None and (i % 1000 == 999 or i + 1 == len(files)):
            progress(i + 1, len(files))
    labels = np.array([names.index(name) for _, name in files], np.int32)
    paths = np.array([file.relative_to(folder).as_posix() for file, _ in files])
    everything = Dataset(images, {"label": labels}, paths)
    if "all" in splits:
        train, test = hold_out(everything, "label", holdout)
    else:
        is_test = np.arange(len(files)) >= len(splits["train"])
        train, test = everything.take(~is_test), everything.take(is_test)
    return Source(folder.resolve().name, train, test, {"label": tuple(names)}, "label")


def _class_files(folder: Path) -> Files:
    if not folder.is_dir():
        return []
    return [
        (file, class_folder.name)
        for class_folder in sorted(folder.iterdir())
        if class_folder.is_dir() and not class_folder.name.startswith(".")
        for file in sorted(class_folder.iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def _common_mode(pillow: Any, files: list[Path], image_size: int | None) -> str:
    """Returns "L" or "RGB" for all files, from their headers alone."""
    first_size, mode = None, "L"
    for file in files:
        try:
            with pillow.open(file) as picture:
                size, got = picture.size, picture.mode
        except OSError as error:
            raise ValueError(f"{file}: not an image that Pillow can read ({error})") from error
        if got not in GRAY_MODES + COLOR_MODES:
            raise TypeError(
                f"{file}: images must have 8 bits a channel, got mode {got!r}. Convert it, "
                "for example with Pillow's Image.point and Image.convert"
            )
        if got in COLOR_MODES:
            mode = "RGB"
        first_size = first_size or size
        if image_size is None and size != first_size:
            raise ValueError(
                f"{file.parent.parent}: images must have one size, got "
                f"{first_size[0]}x{first_size[1]} ({files[0].name}) and {size[0]}x{size[1]} "
                f"({file.name}). Give image_size= to crop and resize them"
            )
    return mode


def _numbers_first(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
