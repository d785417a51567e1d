"""Scores of images that are normal over models, with a known gain of membership."""

from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    target: np.ndarray  # [images]
    is_member: np.ndarray  # [images]
    shadows: np.ndarray  # [models, images]
    members: np.ndarray  # [models, images], each image in half of the models


def draw(shift: float, *, models: int = 32, images: int = 400, seed: int = 0) -> Scores:
    """Images of unequal ease; a member's score is larger by `shift` deviations of a model."""
    rng = np.random.default_rng(seed)
    ease = 5 * rng.normal(size=images)
    halves = np.arange(models)[:, None] < models // 2
    members = rng.permuted(np.broadcast_to(halves, (models, images)), axis=0)
    is_member = rng.permutation(np.arange(images) < images // 2)
    shadows = ease + shift * members + rng.normal(size=members.shape)
    return Scores(ease + shift * is_member + rng.normal(size=images), is_member, shadows, members)
