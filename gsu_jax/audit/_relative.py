"""Whether samples are nearer to those of retrained models than to those of the original."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gsu_jax import checks


class RelativeTest(NamedTuple):
    """Result of `relative_test`.

    Attributes:
        difference: MMD^2 to retraining less MMD^2 to the original; below 0 is nearer to retraining.
        low: Lower end of the 95 % interval over models.
        high: Upper end of that interval.
        p: Share of bootstrap differences at or above 0; small means nearer to retraining.
    """

    difference: float
    low: float
    high: float
    p: float


def relative_test(
    unlearned: ArrayLike,
    retrained: ArrayLike,
    original: ArrayLike,
    *,
    bandwidth: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> RelativeTest:
    r"""The relative three-sample test: to which of two references samples are nearer.

    .. math::

        T = \mathrm{MMD}^2(U, R) - \mathrm{MMD}^2(U, \theta_0)
          = \overline{k(R, R)} - 2\,\overline{k(U, R)}
          - \overline{k(\theta_0, \theta_0)} + 2\,\overline{k(U, \theta_0)}

    with a Gaussian kernel on features of samples; no pair of a sample with itself counts. The
    bootstrap takes models as the units, because samples of one model are no evidence about the
    next. An honest retraining that differs from others in seed or batches still passes, which an
    equality test would refuse. It is easy to pass by forgetting a class: necessary, never
    sufficient.

    Args:
        unlearned: `[a, n, d]`, features of n samples of each of a >= 2 models, by a judge that took
            part in no training.
        retrained: `[b, n, d]`, of b >= 2 retrained models.
        original: `[c, n, d]`, of c >= 1 original models; one that is fixed is not resampled.
        bandwidth: Of the kernel exp(-|x - y|^2 / (2 bandwidth^2)); by default the median distance
            between the first samples of all models.
        resamples: Bootstrap resamples.
        seed: Seed of the resamples.

    Returns:
        A `RelativeTest`.

    Raises:
        ValueError: A group is not `[models, n, d]` with n >= 2 and one d, has too few models or a
            value that is not finite, or the bandwidth is not above 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draw = lambda mean: mean + rng.normal(size=(4, 100, 2))
        >>> found = relative_test(draw(1.0), draw(1.0), draw(0.0))
        >>> found.difference < 0, found.p < 0.05
        (True, True)

    References:
        Bounliphone et al., `A Test of Relative Similarity For Model Selection in Generative Models
        <https://arxiv.org/abs/1511.04581>`_, 2016; Ribero et al.,
        `arXiv 2601.19755 <https://arxiv.org/abs/2601.19755>`_, 2026.
    """
    given = {"unlearned": unlearned, "retrained": retrained, "original": original}
    groups = {name: np.asarray(group, np.float64) for name, group in given.items()}
    for name, group in groups.items():
        least = 1 if name == "original" else 2
        if group.ndim != 3 or len(group) < least or group.shape[1] < 2:
            raise ValueError(
                f"{name} must be [models, n, d] with {least} or more models and n >= 2, got shape "
                f"{group.shape}"
            )
        if not np.isfinite(group).all():
            raise ValueError(f"{name} has features that are not finite")
    if len({group.shape[2] for group in groups.values()}) > 1:
        raise ValueError("unlearned, retrained and original must have features of one width")
    sizes = [len(group) for group in groups.values()]
    models = [model for group in groups.values() for model in group]
    gram = _mean_kernels(models, _median(models) if bandwidth is None else bandwidth)
    rng = np.random.default_rng(seed)
    drawn = [
        rng.multinomial(size, np.full(size, 1 / size), size=resamples) / size for size in sizes
    ]
    difference = float(_differences([np.full((1, size), 1 / size) for size in sizes], gram)[0])
    values = _differences(drawn, gram)
    low, high = np.quantile(values, [0.025, 0.975])
    p = (1 + np.count_nonzero(values >= 0)) / (1 + resamples)
    return RelativeTest(difference, float(low), float(high), float(p))


def _differences(weights: list[np.ndarray], gram: np.ndarray) -> np.ndarray:
    """T of each row of weights of the unlearned, retrained and original models."""
    u, r, o = weights
    # One vector for each side of k(R - O, R + O - 2 U), whose value is T.
    one = np.concatenate([0 * u, r, -o], axis=1)
    other = np.concatenate([-2 * u, r, o], axis=1)
    return np.einsum("ri,ij,rj->r", one, gram, other)


def _mean_kernels(models: list[np.ndarray], bandwidth: float) -> np.ndarray:
    """Mean kernel of the samples of each two models, `[models, models]`."""
    checks.above(0, bandwidth=bandwidth)
    gram = np.empty((len(models), len(models)))
    for i, one in enumerate(models):
        for j, other in enumerate(models[: i + 1]):
            kernel = np.exp(-_squared(one, other) / (2 * bandwidth**2))
            n = len(one)
            same = (kernel.sum() - n) / (n * (n - 1)) if i == j else kernel.mean()
            gram[i, j] = gram[j, i] = same
    return gram


def _squared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    norms = np.square(one).sum(1)[:, None] + np.square(other).sum(1)
    return np.maximum(norms - 2 * one @ other.T, 0)


def _median(models: list[np.ndarray]) -> float:
    some = np.concatenate([model[:100] for model in models])
    return float(np.sqrt(np.median(_squared(some, some)[np.triu_indices(len(some), 1)])))
