"""Whether a linear function of the encoder's output tells forgotten images from others."""

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks
from gsu_jax.audit._rates import Attack, attack_rates

Groups = tuple[ArrayLike, ArrayLike]  # features of forgotten and of other images, each [n, d]


def ridge_probe(train: Groups, test: Groups, ridge: float = 1e-3) -> Attack:
    r"""A linear probe of features, fitted in closed form and judged on other images.

    .. math::

        w = (\tilde X^\top \tilde X / n + \lambda I)^{-1} \tilde X^\top \tilde y / n

    X are the standardized features of both groups, y is 1 for forgotten and 0 for other images,
    and both are centered. Every encoder carries a class to some degree, a retrained one too: only
    the difference to retrained models counts.

    Args:
        train: Features of forgotten and of other images `[n, d]` and `[m, d]`, such as means of
            q(z|x), that fit the probe.
        test: Features of images apart from those, in the same order.
        ridge: lambda, above 0.

    Returns:
        The `Attack` of the probe's values on `test`, with its AUC.

    Raises:
        ValueError: A group is not `[n, d]` with the same d, is empty, or has a value that is not
            finite, or the ridge is not above 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draw = lambda mean: mean + rng.normal(size=(200, 3))
        >>> found = ridge_probe((draw(1.0), draw(0.0)), (draw(1.0), draw(0.0)))
        >>> bool(found.auc.low > 0.8)
        True

    References:
        Alain & Bengio, `Understanding intermediate layers using linear classifier probes
        <https://arxiv.org/abs/1610.01644>`_, 2016.
    """
    checks.above(0, ridge=ridge)
    forgotten, others = (np.asarray(group, np.float64) for group in train)
    tested = [np.asarray(group, np.float64) for group in test]
    groups = (forgotten, others, *tested)
    if {(group.ndim, group.shape[-1:]) for group in groups} != {(2, forgotten.shape[1:])}:
        raise ValueError(
            "train and test must be two groups of features [n, d] each, with one d, got "
            f"{', '.join(str(group.shape) for group in groups)}"
        )
    if not all(len(group) and np.isfinite(group).all() for group in groups):
        raise ValueError("train or test has a group that is empty or not finite")
    features = np.concatenate([forgotten, others])
    labels = np.arange(len(features)) < len(forgotten)
    deviation = features.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    x, y = (features - features.mean(axis=0)) / scale, labels - labels.mean()
    normal = x.T @ x / len(x) + ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, x.T @ y / len(x)) / scale
    return attack_rates(*(group @ weights for group in tested))
