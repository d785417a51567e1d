"""Whether the difference of two published versions shows the forgotten images."""

from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike


class WeightLeak(NamedTuple):
    """Result of `weight_leak`.

    Attributes:
        forgotten: `[n]`, largest |cosine| of each forgotten image with a direction of the change.
        held_out: `[m]`, that of each held-out image.
        directions: How many directions of the size of an image the change has.
    """

    forgotten: np.ndarray
    held_out: np.ndarray
    directions: int

    @property
    def shown(self) -> int:
        """How many forgotten images exceed every held-out one; see `chance_above`."""
        return int((self.forgotten > self.held_out.max()).sum())


def weight_leak(before: Any, after: Any, forgotten: ArrayLike, held_out: ArrayLike) -> WeightLeak:
    r"""Looks for forgotten images in the change of the weights.

    A step on one image x changes the kernel of a dense layer that reads pixels by x delta^T. So

    .. math::

        \max_l |\cos(v_1(\Delta W_l), x)|

    with v_1 the first singular vector of the change on the side of the pixels. Every leaf counts
    that has an axis of as many values as an image: kernels `[pixels, width]` and `[width, pixels]`,
    and biases `[pixels]`. Images and directions are taken less their projection on the mean
    held-out image, which all images of a kind share.

    Args:
        before: Parameters before unlearning, a pytree.
        after: Parameters after it, of the same structure.
        forgotten: `[n, ...]` images as the model sees them, floating.
        held_out: `[m, ...]`, images of the same kind that were in no training.

    Returns:
        A `WeightLeak`.

    Raises:
        ValueError: The trees differ, the images differ in size, a group is empty, or no leaf has
            an axis of the size of an image, so that the attack does not apply.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> images, held_out = rng.uniform(size=(3, 20)), rng.uniform(size=(200, 20))
        >>> before = {"kernel": rng.normal(size=(20, 8))}
        >>> after = {"kernel": before["kernel"] + np.outer(images[0], rng.normal(size=8))}
        >>> found = weight_leak(before, after, images, held_out)
        >>> round(float(found.forgotten[0]), 3), found.shown > 0
        (1.0, True)

    References:
        Hu et al., `Learn What You Want to Unlearn: Unlearning Inversion Attacks against Machine
        Unlearning <https://arxiv.org/abs/2404.03233>`_, 2024.
    """
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError("before and after must be parameters of one model, got different trees")
    images = [np.asarray(x, np.float64) for x in (forgotten, held_out)]
    if any(x.ndim < 2 or not len(x) for x in images):
        raise ValueError(
            "forgotten and held_out must be one or more images [n, ...], got shapes "
            f"{images[0].shape} and {images[1].shape}"
        )
    first, second = (x.reshape(len(x), -1) for x in images)
    pixels = first.shape[1]
    if second.shape[1] != pixels:
        raise ValueError(
            f"forgotten and held_out must be of one size, got {pixels} and {second.shape[1]} pixels"
        )
    changes = jax.tree.map(
        lambda a, b: np.asarray(b, np.float64) - np.asarray(a, np.float64), before, after
    )
    found = [direction(leaf, pixels) for leaf in jax.tree.leaves(changes)]
    directions = [vector for vector in found if vector is not None]
    if not directions:
        raise ValueError(
            f"before has no leaf with an axis of {pixels} values, one a pixel: the attack needs a "
            "dense layer at the images"
        )
    shared = second.mean(axis=0)
    rows = _cleaned(np.stack(directions), shared)
    forgotten_leak, held_out_leak = (
        np.abs(_cleaned(x, shared) @ rows.T).max(axis=1) for x in (first, second)
    )
    return WeightLeak(forgotten_leak, held_out_leak, len(directions))


def chance_above(k: int, n: int, m: int) -> float:
    r"""The chance that k or more of n values exceed all of m others, if nothing tells them apart.

    .. math::

        \prod_{i < k} \frac{n - i}{n + m - i}

    That is the chance that the k largest of all n + m values are among the n: a test by ranks,
    which holds for every distribution and for any n and m.

    Args:
        k: At most n.
        n: Values.
        m: Others.

    Example:
        >>> round(chance_above(1, 1, 99), 3), round(chance_above(3, 10, 10), 3)
        (0.01, 0.105)
    """
    i = np.arange(k)
    return float(np.prod((n - i) / (n + m - i)))


def direction(change: np.ndarray, pixels: int) -> np.ndarray | None:
    """The strongest direction of a leaf's change in the space of images, `[pixels]`, if any."""
    if change.shape == (pixels,):
        return change
    if change.ndim != 2 or pixels not in change.shape:
        return None
    left, _, right = np.linalg.svd(change, full_matrices=False)
    return left[:, 0] if change.shape[0] == pixels else right[0]


def _cleaned(rows: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Unit rows without their part along `shared`."""
    norm = np.linalg.norm(shared)
    unit = shared / norm if norm > 0 else shared
    rows = rows - np.outer(rows @ unit, unit)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
