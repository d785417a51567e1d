"""Whether unlearning exposes the images that stay."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from gsu_jax.audit._clopper_pearson import tail_of
from gsu_jax.audit._rates import Rate, check_scores


def auc_change(
    before: tuple[ArrayLike, ArrayLike], after: tuple[ArrayLike, ArrayLike], level: float = 0.95
) -> Rate:
    """How much unlearning raised the AUC of an attack on the same images (DeLong's interval).

    For retained rows: an attack may find them better after unlearning, because they are what the
    last steps trained on. The images of both attacks are paired, so that the interval is that of
    the change, over images.

    Args:
        before: `(members [n], others [m])`, scores by the model before; n and m at least 2.
        after: The same images' scores by the unlearned model.
        level: Level of the two-sided interval.

    Returns:
        The AUC after less the AUC before, with its interval.

    Raises:
        ValueError: The lengths differ or are below 2, a score is not finite, or the level is not in
            (0, 1).

    Example:
        >>> members, others = np.arange(100.0), np.arange(100.0)
        >>> change = auc_change((members, others), (members + 50, others))
        >>> round(change.value, 3), change.low > 0
        (0.375, True)

    References:
        DeLong et al., `Comparing the Areas under Two or More Correlated Receiver Operating
        Characteristic Curves <https://doi.org/10.2307/2531595>`_, 1988.
    """
    pairs = [
        (check_scores(members, f"members of {name}"), check_scores(others, f"others of {name}"))
        for name, (members, others) in {"before": before, "after": after}.items()
    ]
    sizes = [tuple(map(len, pair)) for pair in pairs]
    if sizes[0] != sizes[1] or min(sizes[0]) < 2:
        raise ValueError(
            f"before and after must be of the same images, two or more a group, got {sizes[0]} and "
            f"{sizes[1]} members and others"
        )
    (members_before, others_before), (members_after, others_after) = (
        (_share_below(members, others), 1 - _share_below(others, members))
        for members, others in pairs
    )
    gains, losses = members_after - members_before, others_after - others_before
    error = np.sqrt(gains.var(ddof=1) / len(gains) + losses.var(ddof=1) / len(losses))
    reach = -float(ndtri(tail_of(level)) * error)
    return Rate(float(gains.mean()), float(gains.mean()) - reach, float(gains.mean()) + reach)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of `others` below each of `scores`; ties count half."""
    ranked = np.sort(others)
    sides = [np.searchsorted(ranked, scores, side=side) for side in ("left", "right")]
    return np.add(*sides) / (2 * len(others))
