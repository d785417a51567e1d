"""The share of samples that show a class, corrected for the errors of the judge."""

from typing import NamedTuple

import numpy as np

from gsu_jax import checks

DRAWS = 10_000


class Count(NamedTuple):
    """How many of n images a judge assigns to a class.

    Attributes:
        found: Images that it assigns to the class.
        n: All images.
    """

    found: int
    n: int


class JudgeErrors(NamedTuple):
    """What a judge makes of test images, of which it is known what they show.

    Attributes:
        hits: Of the images of the forgotten class, those that it finds.
        false_alarms: Of the retained images, those that it assigns to the forgotten class.
    """

    hits: Count
    false_alarms: Count


class CorrectedShare(NamedTuple):
    """A corrected share and its interval.

    Attributes:
        share: In [0, 1].
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    share: float
    low: float
    high: float


def corrected_share(
    found: Count | tuple[int, int],
    errors: JudgeErrors | tuple[tuple[int, int], tuple[int, int]],
    level: float = 0.95,
) -> CorrectedShare:
    r"""Share of samples that show the forgotten class, by a judge that errs (Rogan & Gladen 1978).

    .. math::

        p = \frac{q - \mathrm{fpr}}{\mathrm{tpr} - \mathrm{fpr}}, \quad \text{cut to } [0, 1]

    with q the share that the judge assigns to the class, tpr its share of hits and fpr its share of
    false alarms on test images. The correction holds if the judge errs on samples as it errs on
    test images.

    The interval counts the sampling error of all three shares by melding their Clopper-Pearson
    bounds. With independent draws from

        lower: Beta(k, n - k + 1),   upper: Beta(k + 1, n - k)

    of each count k of n, `low` is the (1 - level) / 2 quantile of p at the lower q and the upper
    tpr and fpr, and `high` the mirrored quantile at the upper q and the lower tpr and fpr. It holds
    its level also where q is 0, at the price of some width. The draws have a fixed seed.

    An interval that ends at 0 says that the judge assigns fewer samples to the class than its false
    alarms on test images explain. Then it errs otherwise on samples, and the bound of
    `feature_ratio` is the one to read.

    Args:
        found: `(k, n)`, of n samples the judge assigns k to the class.
        errors: `((hits, images), (false alarms, images))` on test images, as in
            `Reference.judge_errors`.
        level: Level of the two-sided interval.

    Returns:
        A `CorrectedShare`.

    Raises:
        ValueError: A count is not in 0..n, n is 0, the level is not in (0, 1), or the judge does
            not tell the class apart (tpr is not above fpr).

    Example:
        >>> found = corrected_share((80, 10_000), errors=((980, 1000), (60, 9000)))
        >>> round(found.share, 4), round(found.low, 4), round(found.high, 4)
        (0.0014, 0.0, 0.004)

    References:
        Rogan & Gladen, `Estimating prevalence from the results of a screening test
        <https://doi.org/10.1093/oxfordjournals.aje.a112510>`_, 1978; Bayer, Fay & Graubard,
        `Confidence intervals for prevalence estimates from complex surveys with imperfect assays
        <https://arxiv.org/abs/2205.13494>`_, 2022.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    counts = dict(zip(("found", "hits", "false_alarms"), (found, *errors), strict=True))
    for name, (k, n) in counts.items():
        checks.at_least(1, **{f"n of {name}": n})
        if not 0 <= k <= n:
            raise ValueError(f"{name} must be (k, n) with 0 <= k <= n, got ({k}, {n})")
    q, tpr, fpr = (k / n for k, n in counts.values())
    if tpr <= fpr:
        raise ValueError(
            f"errors must be of a judge that finds the class more often where it is, got a share "
            f"of hits of {tpr:.3g} and of false alarms of {fpr:.3g}; train the judge longer"
        )
    rng = np.random.default_rng(0)
    lower = [rng.beta(k, n - k + 1, DRAWS) if k else np.zeros(DRAWS) for k, n in counts.values()]
    upper = [rng.beta(k + 1, n - k, DRAWS) if k < n else np.ones(DRAWS) for k, n in counts.values()]
    low = _share(lower[0], upper[1], upper[2], otherwise=0.0)
    high = _share(upper[0], lower[1], lower[2], otherwise=1.0)
    tail, share = (1 - level) / 2, float(np.clip((q - fpr) / (tpr - fpr), 0, 1))
    # The draws' quantiles may cross the share itself where it is cut.
    return CorrectedShare(
        share,
        min(float(np.quantile(low, tail)), share),
        max(float(np.quantile(high, 1 - tail)), share),
    )


def _share(q: np.ndarray, tpr: np.ndarray, fpr: np.ndarray, otherwise: float) -> np.ndarray:
    """The share p of each draw; `otherwise` where tpr is not above fpr."""
    apart = tpr > fpr
    return np.where(apart, np.clip((q - fpr) / np.where(apart, tpr - fpr, 1), 0, 1), otherwise)
