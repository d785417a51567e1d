"""Residuals of single images against an ensemble of retrained models."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

# Of a row: the mean e of forgotten and of retained images, and the share outside the limit.
RESIDUAL_METRICS = ("e_forget", "e_forget_outside", "e_retain", "e_retain_outside")


class ImageResiduals(NamedTuple):
    """Result of `image_residuals`.

    Attributes:
        values: `[n]`, e of each image, in deviations of the retrained models.
        limit: |e| of one more retrained model exceeds it for 5 % of the images.
    """

    values: np.ndarray
    limit: float

    @property
    def outside(self) -> float:
        """Share of images with |e| above the limit; about 0.05 of a retrained model."""
        return float(np.mean(np.abs(self.values) > self.limit))


def image_residuals(phi: ArrayLike, retrained: ArrayLike) -> ImageResiduals:
    r"""Standardized residuals e(x) = (phi(x) - m(x)) / s(x) against m retrained models.

    m(x) is the mean of the ensemble at an image. Few models give a poor deviation, so s(x) is
    shrunk to the pool: the images' variances are inverse-gamma(a, b), with moments from the sample
    variances v(x),

    .. math::

        \frac{b}{a-1} = \bar v, \qquad
        \frac{1}{a-2} = \max\Big(0, \frac{c - 2/(m-1)}{1 + 2/(m-1)}\Big), \quad
        c = \frac{\mathrm{Var}\, v}{\bar v^2}, \qquad
        s(x)^2 = \frac{2b + (m-1)\,v(x)}{2a + m - 1}

    The predictive distribution of e for one more retrained model is Student's t with 2a + m - 1
    degrees of freedom times sqrt(1 + 1/m), which gives `limit`. If the variances differ no more
    than chance explains, all images share the pooled one.

    Args:
        phi: `[n]`, a figure of each image under one model, such as `DecoderEvidence.phi`.
        retrained: `[m, n]`, the same images under m >= 2 retrained models.

    Returns:
        An `ImageResiduals`.

    Raises:
        ValueError: The shapes do not fit, there are fewer than two models, or a value is not
            finite.

    Example:
        >>> retrained = [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]
        >>> image_residuals([2.0, 8.0], retrained).values.tolist()
        [0.0, 2.0]
    """
    phi, retrained = np.asarray(phi, np.float64), np.asarray(retrained, np.float64)
    if retrained.ndim != 2 or len(retrained) < 2 or phi.shape != retrained.shape[1:]:
        raise ValueError(
            "retrained must be [models, n] with two or more models for phi [n], got "
            f"{retrained.shape} and {phi.shape}"
        )
    if not (np.isfinite(phi).all() and np.isfinite(retrained).all()):
        raise ValueError("phi or retrained has values that are not finite; leave those images out")
    freedom = len(retrained) - 1
    variances = retrained.var(axis=0, ddof=1)
    pooled = variances.mean()
    if pooled == 0:
        raise ValueError("retrained has models that are all equal; give models of other seeds")
    chance = 2 / freedom
    spread = max(0.0, (variances.var() / pooled**2 - chance) / (1 + chance))
    # a is infinite where the spread is 0: multiply all by the spread.
    a = 1 + 2 * spread  # a * spread
    b = pooled * (1 + spread)  # b * spread
    total = 2 * a + freedom * spread
    deviation = np.sqrt((2 * b + freedom * spread * variances) / total)
    student = float(stdtrit(total / spread if spread else 1e9, 0.975))
    return ImageResiduals(
        (phi - retrained.mean(axis=0)) / deviation, student * math.sqrt(1 + 1 / len(retrained))
    )
