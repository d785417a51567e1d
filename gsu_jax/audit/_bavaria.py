"""Membership by a ratio of Student's densities, with variances shrunk to the pool."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, stdtr

from gsu_jax import checks
from gsu_jax.audit._lira import KINDS
from gsu_jax.audit._shadows import Group, check_shadows, require_models

NO_SPREAD = 1e-6  # of the variances of images: as good as equal


class _Predictive(NamedTuple):
    """Student's t of each image: degrees of freedom, location and scale."""

    freedom: np.ndarray
    location: np.ndarray
    scale: np.ndarray


def bavaria(
    target: ArrayLike, shadows: ArrayLike, members: ArrayLike, *, kind: str = "online"
) -> np.ndarray:
    r"""BaVarIA-t: a likelihood ratio that holds with few shadow models.

    The scores of an image under the n models of a group (with it, or without it) are normal, with
    the prior mu | s^2 ~ N(m_0, s^2 / k_0) and s^2 ~ inverse-gamma(a_0, b_0). The images together
    give m_0, k_0, a_0 and b_0 by moments, in each group. With mean m and sum of squares S,

    .. math::

        k = k_0 + n, \quad \mu = \frac{k_0 m_0 + n m}{k}, \quad a = a_0 + \tfrac n2, \quad
        b = b_0 + \tfrac S2 + \frac{k_0 n (m - m_0)^2}{2k}

    and one more model's score is Student's t with 2a degrees of freedom, location mu and scale^2
    b (k + 1) / (a k). The score is log t_in(phi) - log t_out(phi). Offline it is -log P(T > phi)
    under t_out. An image without models in a group keeps the prior.

    Args:
        target: `[images]` or `[..., images]`, scores of the attacked model.
        shadows: `[models, images]`, scores of the shadow models.
        members: `[models, images]`, whether the shadow was trained with the image.
        kind: "online" or "offline".

    Returns:
        Float64 of the shape of `target`; a larger value means a member.

    Raises:
        ValueError: The shapes do not fit, a score is not finite, no image has two models that
            differ in a group, or the kind is unknown.

    Example:
        >>> shadows = [[2.0, 0.0], [3.0, 1.0], [0.0, 2.0], [1.0, 3.0]]
        >>> members = np.array([[True, False], [True, False], [False, True], [False, True]])
        >>> found = bavaria([2.5, 0.5], shadows, members)
        >>> bool(found[0] > 0 > found[1])
        True

    References:
        Brannvall, `arXiv 2603.11799 <https://arxiv.org/abs/2603.11799>`_, 2026; Murphy,
        `Conjugate Bayesian analysis of the Gaussian distribution
        <https://www.cs.ubc.ca/~murphyk/Papers/bayesGauss.pdf>`_, 2007.
    """
    checks.choice(KINDS, kind=kind)
    target, both = check_shadows(target, shadows, members)
    outside = _predictive(both.group(inside=False), "without")
    if kind == "offline":
        z = (target - outside.location) / outside.scale
        return -np.log(np.maximum(stdtr(outside.freedom, -z), np.finfo(np.float64).tiny))
    inside = _predictive(both.group(inside=True), "with")
    return _log_density(inside, target) - _log_density(outside, target)


def _predictive(group: Group, which: str) -> _Predictive:
    require_models(group, 0, which)
    n, some = group.count, group.count >= 2
    variances, chance = group.squares[some] / (n[some] - 1), float(np.mean(2 / (n[some] - 1)))
    pooled = group.pooled_variance
    spread = max((variances.var() / pooled**2 - chance) / (1 + chance), NO_SPREAD)
    a0 = 2 + 1 / spread
    b0 = pooled * (a0 - 1)
    m0 = group.mean[some].mean()
    between = group.mean[some].var() / pooled - float(np.mean(1 / n[some]))
    k0 = 1 / max(between, NO_SPREAD)
    k, a = k0 + n, a0 + n / 2
    b = b0 + group.squares / 2 + k0 * n * np.square(group.mean - m0) / (2 * k)
    return _Predictive(2 * a, (k0 * m0 + n * group.mean) / k, np.sqrt(b * (k + 1) / (a * k)))


def _log_density(t: _Predictive, x: np.ndarray) -> np.ndarray:
    half = (t.freedom + 1) / 2
    constant = gammaln(half) - gammaln(t.freedom / 2) - 0.5 * np.log(np.pi * t.freedom)
    z = (x - t.location) / t.scale
    return constant - np.log(t.scale) - half * np.log1p(np.square(z) / t.freedom)
