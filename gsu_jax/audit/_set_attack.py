"""Whether a model knows a set of images better than retrained models do."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from gsu_jax.metrics import image_residuals, position


class SetAttack(NamedTuple):
    """Result of `set_attack`.

    Attributes:
        statistic: T of each attacked model; a float or `[models]`.
        reference: `[m]`, T of each retrained model against the others.
        z: T in standard errors of one more retrained model.
        p: Two-sided p-value of z by Student's t, m - 1 degrees of freedom.
    """

    statistic: np.ndarray
    reference: np.ndarray
    z: np.ndarray
    p: np.ndarray


def set_attack(phi: ArrayLike, retrained: ArrayLike, in_set: ArrayLike) -> SetAttack:
    r"""How much better a set of images is known than others, beyond what retraining explains.

    .. math::

        T = \frac1{|F|} \sum_{x \in F} e(x) - \frac1{|H|} \sum_{x \in H} e(x), \qquad
        e(x) = \frac{\varphi(x) - m(x)}{s(x)}

    F is the set, H the other images, and e the residuals of `image_residuals` against the m
    retrained models. The difference removes what the model does to all images alike. With a gain of
    d deviations an image, T is about d and its error falls as the sets grow, so a set shows what
    no single image does. H must be images of the same kind that were left out by chance. Give
    retained images as F to ask whether unlearning exposes them. For several seeds, test
    `equivalence_test(found.statistic, found.reference, margin)`.

    Args:
        phi: `[images]`, or `[models, images]`, log densities by the attacked models.
        retrained: `[m, images]`, m >= 3, those by models that were retrained without F.
        in_set: `[images]`, booleans, whether an image is in F.

    Returns:
        A `SetAttack`. T is positive where the set is known too well, negative where it is
        over-forgotten.

    Raises:
        ValueError: The shapes do not fit, F or H is empty, a value is not finite, or there are
            fewer than three retrained models.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> retrained, in_set = rng.normal(size=(8, 100)), np.arange(100) < 50
        >>> known = rng.normal(size=100) + 2 * in_set
        >>> bool(set_attack(known, retrained, in_set).p < 0.001)
        True

    References:
        Hilprecht et al., `Monte Carlo and Reconstruction Membership Inference Attacks against
        Generative Models <https://doi.org/10.2478/popets-2019-0067>`_, 2019.
    """
    phi, retrained, in_set = np.asarray(phi), np.asarray(retrained), np.asarray(in_set)
    fits = retrained.ndim == 2 and in_set.shape == retrained.shape[1:] and in_set.dtype == bool
    if not fits or len(retrained) < 3 or phi.ndim not in (1, 2) or phi.shape[-1:] != in_set.shape:
        raise ValueError(
            "retrained must be [m, images] with m >= 3, phi [..., images] and in_set [images] of "
            f"booleans, got {retrained.shape}, {phi.shape} and {in_set.shape} of {in_set.dtype}"
        )
    if in_set.all() or not in_set.any():
        raise ValueError("in_set must be true for some images and false for others")

    def contrast(one: np.ndarray, others: np.ndarray) -> float:
        residuals = image_residuals(one, others).values
        return float(residuals[in_set].mean() - residuals[~in_set].mean())

    statistic = np.apply_along_axis(contrast, -1, phi, retrained)
    reference = np.array(
        [contrast(one, np.delete(retrained, i, axis=0)) for i, one in enumerate(retrained)]
    )
    z = position(statistic, reference).z
    return SetAttack(statistic, reference, z, 2 * stdtr(len(retrained) - 1, -np.abs(z)))
