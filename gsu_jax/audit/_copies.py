"""Whether samples copy forgotten images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks

CHUNK = 1000  # samples at a time


class Copies(NamedTuple):
    """Result of `nearest_copies`.

    Attributes:
        forgotten: `[n]`, distance of each forgotten image to the nearest sample.
        held_out: `[m]`, that of each held-out image.
        nearest: `[n]`, which sample is nearest to each forgotten image.
        difference: The low quantile of `forgotten` less that of `held_out`; below 0 where samples
            come nearer to forgotten images.
        p: One-sided p-value of the difference by permutation; small means copies.
    """

    forgotten: np.ndarray
    held_out: np.ndarray
    nearest: np.ndarray
    difference: float
    p: float


def nearest_copies(
    samples: ArrayLike,
    forgotten: ArrayLike,
    held_out: ArrayLike,
    *,
    quantile: float = 0.01,
    permutations: int = 1000,
    seed: int = 0,
) -> Copies:
    """Distances of forgotten and of held-out images to the nearest of many samples.

    A model that memorized an image draws it more closely than an image of the same kind that it
    never saw. The low quantile is where copies are. The p-value permutes which images are the
    forgotten ones. No copy among n samples bounds the share of copies by about 3.7 / n
    (`clopper_pearson`).

    Args:
        samples: `[k, ...]` images or features, such as 100,000 samples.
        forgotten: `[n, ...]`, in the same form.
        held_out: `[m, ...]`, images of the same kind that no model was trained with.
        quantile: In [0, 1); 0 compares the smallest distances.
        permutations: Random permutations.
        seed: Seed of the permutations.

    Returns:
        A `Copies`.

    Raises:
        ValueError: A group is empty, the images differ in size, a value is not finite, or a number
            is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> forgotten, held_out = rng.normal(size=(2, 50, 8))
        >>> samples = np.concatenate([forgotten, held_out[:10] + 3])
        >>> found = nearest_copies(samples, forgotten, held_out)
        >>> float(found.forgotten.max().round(3)), found.p < 0.01
        (0.0, True)

    References:
        Chen et al., `GAN-Leaks <https://arxiv.org/abs/1909.03935>`_, 2020.
    """
    checks.in_range(0, 1, quantile=quantile)
    checks.at_least(1, permutations=permutations)
    samples, forgotten, held_out = (
        _flat(x, name)
        for name, x in {"samples": samples, "forgotten": forgotten, "held_out": held_out}.items()
    )
    if len({samples.shape[1], forgotten.shape[1], held_out.shape[1]}) > 1:
        raise ValueError(
            "samples, forgotten and held_out must be of one size, got "
            f"{samples.shape[1]}, {forgotten.shape[1]} and {held_out.shape[1]} values each"
        )
    images = np.concatenate([forgotten, held_out])
    center = images.mean(axis=0)  # |x|^2 + |y|^2 - 2 x.y cancels far from the origin
    images, best, nearest = (
        images - center,
        np.full(len(images), np.inf),
        np.zeros(len(images), int),
    )
    norms = np.square(images).sum(axis=1)
    for start in range(0, len(samples), CHUNK):
        chunk = samples[start : start + CHUNK] - center
        squared = norms[:, None] + np.square(chunk).sum(axis=1) - 2 * images @ chunk.T
        closest = squared.argmin(axis=1)
        smallest = squared[np.arange(len(images)), closest]
        nearest = np.where(smallest < best, start + closest, nearest)
        best = np.minimum(best, smallest)
    distances, n = np.sqrt(np.maximum(best, 0)), len(forgotten)

    def difference(order: np.ndarray) -> float:
        return float(
            np.quantile(distances[order[:n]], quantile)
            - np.quantile(distances[order[n:]], quantile)
        )

    rng, found = np.random.default_rng(seed), difference(np.arange(len(images)))
    drawn = [difference(rng.permutation(len(images))) for _ in range(permutations)]
    p = (1 + sum(value <= found for value in drawn)) / (1 + permutations)
    return Copies(distances[:n], distances[n:], nearest[:n], found, p)


def _flat(images: ArrayLike, argument: str) -> np.ndarray:
    images = np.asarray(images, np.float64)
    if images.ndim < 2 or not len(images) or not np.isfinite(images).all():
        raise ValueError(
            f"{argument} must be one or more finite images [n, ...], got shape {images.shape}"
        )
    return images.reshape(len(images), -1)
