"""Scores of shadow models, with and without each image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Group(NamedTuple):
    """Moments of each image's scores over the shadow models of one group.

    Attributes:
        count: `[images]`, models.
        mean: `[images]`; 0 where there are no models.
        squares: `[images]`, sum of squares about the mean.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @property
    def pooled_variance(self) -> float:
        """Variance within images, over all images."""
        return float(self.squares.sum() / np.maximum(self.count - 1, 0).sum())


class Shadows(NamedTuple):
    """Scores of shadow models.

    Attributes:
        scores: `[models, images]`.
        members: `[models, images]`, whether the model was trained with the image.
    """

    scores: np.ndarray
    members: np.ndarray

    def group(self, *, inside: bool) -> Group:
        """The models with each image, or those without it."""
        chosen = self.members == inside
        count = chosen.sum(axis=0)
        mean = np.where(chosen, self.scores, 0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(chosen, np.square(self.scores - mean), 0).sum(axis=0)
        return Group(count, mean, squares)


def check_shadows(
    target: ArrayLike, shadows: ArrayLike, members: ArrayLike
) -> tuple[np.ndarray, Shadows]:
    """`target` in float64 and the `Shadows`, or a ValueError that names what does not fit."""
    target, shadows = np.asarray(target, np.float64), np.asarray(shadows, np.float64)
    members = np.asarray(members)
    fits = shadows.ndim == 2 and members.shape == shadows.shape
    if not fits or target.ndim == 0 or target.shape[-1] != shadows.shape[1]:
        raise ValueError(
            "shadows and members must be [models, images] and target [..., images], got "
            f"{shadows.shape}, {members.shape} and {target.shape}"
        )
    if members.dtype != bool:
        raise ValueError(
            f"members must be an array of booleans, got {members.dtype}; compare it, as in "
            "members == 1"
        )
    if not (np.isfinite(target).all() and np.isfinite(shadows).all()):
        raise ValueError("target or shadows has scores that are not finite; leave those images out")
    return target, Shadows(shadows, members)


def require_models(group: Group, least: int, which: str, *, vary: bool = True) -> None:
    """Raises ValueError if an image has fewer than `least` models, or if no scores vary."""
    short = np.flatnonzero(group.count < least)
    if len(short):
        raise ValueError(
            f"members must leave each image {least} or more models {which} it, got "
            f"{group.count[short[0]]} for image {short[0]} ({len(short)} such images); train more "
            "shadows, or leave those images out"
        )
    if vary and (np.maximum(group.count - 1, 0).sum() == 0 or group.pooled_variance == 0):
        raise ValueError(
            f"shadows must vary: no image has two models {which} it with different scores; "
            "train shadows of other seeds"
        )
