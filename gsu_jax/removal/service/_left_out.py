"""What earlier requests took out of the data, which no later request may retain."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gsu_jax.data import Exclusions, Source, SourceSplit, Split
from gsu_jax.removal._exclusion_file import read_exclusions, write_exclusions
from gsu_jax.removal._signing import PublicKeys, RoleKey

EXCLUSIONS = "exclusions.json"


class LeftOut(NamedTuple):
    """Which images earlier requests took out.

    Attributes:
        train: Of the training images, a mask.
        test: Of the held-out images, a mask.
    """

    train: np.ndarray
    test: np.ndarray


def write_left_out(folder: Path, split: SourceSplit, operator: RoleKey) -> None:
    """Writes commitments of what a request takes out: its images, and held-out ones of its class.

    They outlive the list of the images, so that later requests keep clear of them.
    """
    images = (split.train.forget.images, split.test.forget.images)
    write_exclusions(folder / EXCLUSIONS, Exclusions.of(np.concatenate(images)), operator)


def find_left_out(source: Source, folders: Iterable[Path], keys: PublicKeys) -> LeftOut:
    """Returns which images of a source the requests in `folders` took out.

    Raises:
        ValueError: A request left no exclusions, or they were changed.
    """
    found = LeftOut(*(np.zeros(len(part), bool) for part in (source.train, source.test)))
    for folder in folders:
        path = folder / EXCLUSIONS
        if not path.is_file():
            raise ValueError(
                f"{path} is gone: without it the images of request {folder.name} might be retained "
                "by this one; restore it from a backup"
            )
        exclusions = read_exclusions(path, keys)
        for mask, part in zip(found, (source.train, source.test), strict=True):
            mask |= exclusions.matches(part.images)
    return found


def leave_out(split: SourceSplit, out: LeftOut) -> SourceSplit:
    """Returns the split without the images that it would retain and that were taken out before.

    Raises:
        ValueError: No training image is left to retain.
    """
    parts = []
    for part, mask in zip(split, out, strict=True):
        kept = part.mask | ~mask
        parts.append(
            part
            if kept.all()
            else Split(part.dataset.take(kept), part.mask[kept], part.description)
        )
    if parts[0].mask.all():
        raise ValueError("nothing is left to retain: earlier requests took out the other images")
    return SourceSplit(*parts)
