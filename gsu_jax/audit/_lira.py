"""Membership by a likelihood ratio of two normals."""

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.audit._shadows import Group, check_shadows, require_models

KINDS = ("online", "offline")
VARIANCES = ("pooled", "image")


def lira(
    target: ArrayLike,
    shadows: ArrayLike,
    members: ArrayLike,
    *,
    kind: str = "online",
    variance: str = "pooled",
) -> np.ndarray:
    r"""The likelihood-ratio attack (LiRA): how much more a score looks like that of a member.

    Of each image, m_in and s_in are the mean and the deviation of the score under the shadow models
    that were trained with it, m_out and s_out those under the others.

    .. math::

        \text{online:}\quad \log \frac{N(\varphi; m_\mathrm{in}, s_\mathrm{in}^2)}
        {N(\varphi; m_\mathrm{out}, s_\mathrm{out}^2)}, \qquad
        \text{offline:}\quad \frac{\varphi - m_\mathrm{out}}{s_\mathrm{out}}

    The offline score z ranks as Carlini's 1 - P(Z > z), and does not saturate. It needs no model
    that was trained with an image. To attack an unlearned model, let `members` be the models that
    were trained with the image and then unlearned it (U-LiRA). To attack a retained image, give its
    column in place of a forgotten one.

    Args:
        target: `[images]` or `[..., images]`, scores of the attacked model, such as
            `DecoderEvidence.phi` in nats. A member is expected to have the larger score.
        shadows: `[models, images]`, scores of the shadow models.
        members: `[models, images]`, whether the shadow was trained with the image.
        kind: "online" or "offline".
        variance: "pooled" shares one deviation among all images, for few models; "image" estimates
            each, for 64 or more.

    Returns:
        Float64 of the shape of `target`; a larger value means a member.

    Raises:
        ValueError: The shapes do not fit, a score is not finite, an image has too few models, or a
            choice is unknown.

    Example:
        >>> shadows = [[2.0, 0.0], [3.0, 1.0], [0.0, 2.0], [1.0, 3.0]]
        >>> members = np.array([[True, False], [True, False], [False, True], [False, True]])
        >>> lira([2.5, 0.5], shadows, members).round(3).tolist()
        [4.0, -4.0]

    References:
        Carlini et al., `Membership Inference Attacks From First Principles
        <https://arxiv.org/abs/2112.03570>`_, 2022; Hayes et al., `Inexact Unlearning Needs More
        Careful Evaluations <https://arxiv.org/abs/2403.01218>`_, 2024.
    """
    checks.choice(KINDS, kind=kind)
    checks.choice(VARIANCES, variance=variance)
    target, both = check_shadows(target, shadows, members)
    z_out, log_out = _standardized(target, both.group(inside=False), variance, "without")
    if kind == "offline":
        return z_out
    z_in, log_in = _standardized(target, both.group(inside=True), variance, "with")
    return 0.5 * (np.square(z_out) - np.square(z_in)) + log_out - log_in


def _standardized(target: np.ndarray, group: Group, variance: str, which: str) -> tuple:
    """The target in deviations of the group from its mean, and the logarithm of the deviation."""
    require_models(group, 1 if variance == "pooled" else 2, which)
    if variance == "pooled":
        deviation = np.sqrt(np.full(len(group.mean), group.pooled_variance))
    else:
        deviation = np.sqrt(group.squares / (group.count - 1))
        if not deviation.all():
            raise ValueError(
                f'variance="image" needs scores that vary, and image {deviation.argmin()} has '
                f'equal ones over the models {which} it; take variance="pooled"'
            )
    return (target - group.mean) / deviation, np.log(deviation)
