"""What a judge sees in a model's samples, without the model's ELBO."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from gsu_jax import checks
from gsu_jax.metrics._agreement import check_model
from gsu_jax.metrics._corrected_share import Count, corrected_share
from gsu_jax.metrics._coverage import coverage_density
from gsu_jax.metrics._feature_ratio import feature_ratio, mean_probability
from gsu_jax.metrics._frechet import fit_gaussian, frechet_distance
from gsu_jax.metrics._inception_score import inception_score
from gsu_jax.metrics._judging import draw_samples, judge_samples
from gsu_jax.metrics._reference import Reference
from gsu_jax.models import Classifier, GenerativeModel, Prediction

CORRECTED_METRICS = ("fratio_corrected", "fratio_corrected_low", "fratio_corrected_high")
# What a row has of a second judge, with the name of the metric where it is the only judge.
SECOND_METRICS = {
    "fratio_second": "fratio",
    "fid_retain_second": "fid_retain",
    **{name.replace("fratio", "fratio_second"): name for name in CORRECTED_METRICS},
}


def sample_metrics(
    model: GenerativeModel,
    params: Any,
    judge: Classifier,
    judge_params: Any,
    reference: Reference,
    key: jax.Array,
    *,
    samples: int = 10_000,
    batch_size: int = 1000,
    drawn: Iterable[jax.Array] | None = None,
) -> dict[str, float | None]:
    """What a judge sees in a model's samples: the metrics of `evaluate` that need no likelihood.

    With the key and the number of samples of a call of `evaluate` it judges the same samples: so a
    second judge is asked about a model.

    Args:
        model: The generative model.
        params: Its parameters.
        judge: The classifier of `reference`.
        judge_params: Its parameters.
        reference: The test data, from `make_reference` with this judge.
        key: A PRNG key, as given to `evaluate`.
        samples: Images to draw, at least 2.
        batch_size: Images at a time.
        drawn: The samples, if `draw_samples` has drawn them already.

    Returns:
        `fratio`, its bound, probability and corrected share, `inception_score`, `fid`,
        `fid_retain`, `coverage` and `density`. Empty if a sample, a logit or a feature is not
        finite. Without those of fratio if single images are forgotten.

    Raises:
        ValueError: As `evaluate`.
    """
    checks.at_least(2, samples=samples)
    checks.random_key(key=key)
    check_model(model, params, reference)
    if drawn is None:
        drawn = draw_samples(model, params, key, samples, batch_size=batch_size)
    judged = judge_samples(judge, judge_params, drawn, samples)
    return metrics_of_predictions(judged.predictions, reference) if judged.finite else {}


def corrected_fratio(
    fratio: float | None, samples: int, reference: Reference
) -> dict[str, float | None]:
    """`CORRECTED_METRICS` of a fratio among `samples`; None if they cannot be had."""
    row: dict[str, float | None] = dict.fromkeys(CORRECTED_METRICS)
    errors = reference.judge_errors
    if fratio is None or errors is None:
        return row
    (hits, there), (alarms, retained) = errors
    if hits / there <= alarms / retained:
        return row
    corrected = corrected_share(Count(round(fratio * samples), samples), errors)
    return dict(zip(CORRECTED_METRICS, corrected, strict=True))


def metrics_of_predictions(
    predictions: Prediction, reference: Reference
) -> dict[str, float | None]:
    """The metrics that need the judge's finite predictions on the samples alone."""
    logits, features = predictions
    log_probabilities = _log_softmax(logits)
    feature = reference.feature
    ratios: dict[str, float | None] = {}
    if feature is not None:
        ratio = feature_ratio(logits.argmax(axis=1), feature)
        ratios = {
            "fratio": ratio.ratio,
            "fratio_upper95": ratio.upper95,
            "fratio_probability": mean_probability(log_probabilities, feature),
        } | corrected_fratio(ratio.ratio, ratio.n, reference)
    fit = fit_gaussian(features)
    coverage, density = coverage_density(
        reference.retained_features,
        features,
        reference.neighbors,
        radii=reference.retained_radii,
    )
    return ratios | {
        "inception_score": inception_score(log_probabilities),
        "fid": frechet_distance(fit, reference.test_fit),
        "fid_retain": frechet_distance(fit, reference.retained_fit),
        "coverage": coverage,
        "density": density,
    }


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    # In float64, because differences of a diverged model's finite logits can overflow float32.
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
