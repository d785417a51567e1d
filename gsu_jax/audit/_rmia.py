"""Membership relative to a population of images."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from gsu_jax import checks
from gsu_jax.audit._lira import KINDS
from gsu_jax.audit._shadows import Shadows, check_shadows, require_models


def rmia(
    target: ArrayLike,
    shadows: ArrayLike,
    members: ArrayLike,
    population: ArrayLike,
    population_shadows: ArrayLike,
    *,
    kind: str = "online",
    gamma: float = 1.0,
) -> np.ndarray:
    r"""The robust membership attack (RMIA): the share of a population that an image dominates.

    .. math::

        \frac{1}{p}\,\#\Big\{z : r(x) - r(z) > \ln \gamma\Big\}, \qquad
        r(x) = \varphi(x) - \log \overline{\exp \varphi_\mathrm{ref}(x)}

    The scores are log densities in nats. Offline, the reference of x is the mean density over the
    shadows without x; online, the mean of that and of the mean density over the shadows with x. No
    model was trained with the population, so all shadows are its reference. One to four models are
    enough, where LiRA needs many.

    Args:
        target: `[images]` or `[..., images]`, log densities by the attacked model.
        shadows: `[models, images]`, those by the shadow models.
        members: `[models, images]`, whether the shadow was trained with the image.
        population: `[p]` or `[..., p]`, log densities of the population by the attacked model.
        population_shadows: `[models, p]`, those by the shadow models.
        kind: "online" or "offline".
        gamma: How many times more than z the image must have gained; above 0.

    Returns:
        Shares in [0, 1], of the shape of `target`; a larger value means a member.

    Raises:
        ValueError: The shapes do not fit, a score is not finite, an image has no model in a group
            that is needed, or `kind` or `gamma` is wrong.

    Example:
        >>> shadows, members = [[0.0, 0.0], [0.1, 0.1]], np.zeros((2, 2), bool)
        >>> rmia([2.0, -1.0], shadows, members, [0.0, 1.0], shadows, kind="offline").tolist()
        [1.0, 0.0]

    References:
        Zarifzadeh et al., `Low-Cost High-Power Membership Inference Attacks
        <https://arxiv.org/abs/2312.03262>`_, 2024.
    """
    checks.choice(KINDS, kind=kind)
    checks.above(0, gamma=gamma)
    target, both = check_shadows(target, shadows, members)
    outsiders = np.zeros(np.shape(population_shadows), bool)
    try:
        population, others = check_shadows(population, population_shadows, outsiders)
    except ValueError as error:
        raise ValueError(f"population (target) and population_shadows (shadows): {error}") from None
    if len(others.scores) != len(both.scores) or population.shape[:-1] != target.shape[:-1]:
        raise ValueError(
            "population and population_shadows must be of the models of target and shadows, got "
            f"{population.shape} and {others.scores.shape} for {target.shape} and "
            f"{both.scores.shape}"
        )
    reference = _log_mean(both, inside=False)
    if kind == "online":
        reference = np.logaddexp(reference, _log_mean(both, inside=True)) - math.log(2)
    gains = target - reference
    ranked = np.sort(population - _log_mean(others, inside=False), axis=-1)
    below = [
        np.searchsorted(ranks, row - math.log(gamma))
        for ranks, row in zip(
            ranked.reshape(-1, ranked.shape[-1]), gains.reshape(-1, gains.shape[-1]), strict=True
        )
    ]
    return np.reshape(below, gains.shape) / ranked.shape[-1]


def _log_mean(shadows: Shadows, *, inside: bool) -> np.ndarray:
    """Logarithm of the mean density of each image over the models of a group."""
    chosen = shadows.members == inside
    require_models(shadows.group(inside=inside), 1, "with" if inside else "without", vary=False)
    total = logsumexp(np.where(chosen, shadows.scores, -np.inf), axis=0)
    return total - np.log(chosen.sum(axis=0))
