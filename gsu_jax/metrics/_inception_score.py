"""Inception score: whether each sample has one class, and whether all classes occur."""

import numpy as np
from numpy.typing import ArrayLike


def inception_score(log_probabilities: ArrayLike) -> float:
    """Inception score exp E_x KL(p(y|x) || p(y)), with p(y) = E_x p(y|x), in float64.

    It lies between 1 and the number of classes. A perfect generator of m classes reaches m at most,
    so compare an unlearned model with the retrained one and not with the model before.

    Args:
        log_probabilities: `[n, classes]`, log p(y|x) of each sample in nats; -inf is allowed.

    Returns:
        The score.

    Raises:
        ValueError: The shape is not `[n, classes]`, or the rows are not distributions (logits,
            NaN).

    Example:
        >>> with np.errstate(divide="ignore"):
        ...     round(inception_score(np.log(np.eye(3))), 6)
        3.0

    References:
        Salimans et al., `Improved Techniques for Training GANs
        <https://arxiv.org/abs/1606.03498>`_, 2016.
    """
    log_probabilities = np.asarray(log_probabilities, np.float64)
    if log_probabilities.ndim != 2 or not log_probabilities.size:
        raise ValueError(
            "log_probabilities must be [n, classes] with n >= 1, "
            f"got shape {log_probabilities.shape}"
        )
    highest = log_probabilities.max()
    # Checked before the exponential, which warns of an overflow on logits.
    probabilities = np.exp(log_probabilities) if highest < 1.0 else None
    if probabilities is None or not np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError(
            "log_probabilities must hold logarithms of distributions (rows of exp sum to 1); "
            f"its largest entry is {highest:.4g}. Take log_softmax of logits, and leave out "
            "samples that are not finite"
        )
    marginal = probabilities.mean(axis=0)
    # 0 log 0 = 0, for a class of probability 0 in one sample or in all samples.
    log_marginal = np.log(np.where(marginal > 0, marginal, 1.0))
    log_ratio = np.where(probabilities > 0, log_probabilities - log_marginal, 0.0)
    divergence = (probabilities * log_ratio).sum(axis=1).mean()
    # Only rounding exceeds the bounds: exp(log 3) > 3.
    return float(np.clip(np.exp(divergence), 1.0, probabilities.shape[1]))
