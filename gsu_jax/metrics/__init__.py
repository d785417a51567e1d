"""Metrics of samples and of likelihoods, and statistics over seeds."""

from gsu_jax.metrics._best import LARGER_IS_BETTER, best, by_seed
from gsu_jax.metrics._corrected_share import (
    CorrectedShare,
    Count,
    JudgeErrors,
    corrected_share,
)
from gsu_jax.metrics._coverage import coverage_density, neighbor_radii
from gsu_jax.metrics._equivalence import Equivalence, equivalence_test
from gsu_jax.metrics._evaluation import METRICS, evaluate
from gsu_jax.metrics._evidence import DecoderEvidence, decoder_evidence
from gsu_jax.metrics._evidence_metrics import (
    EVIDENCE_METRICS,
    evidence_means,
    evidence_metrics,
    evidence_of_kinds,
)
from gsu_jax.metrics._feature_ratio import (
    Feature,
    FeatureRatio,
    feature_ratio,
    mean_probability,
)
from gsu_jax.metrics._frechet import GaussianFit, fit_gaussian, frechet_distance
from gsu_jax.metrics._holm import holm
from gsu_jax.metrics._image_residuals import RESIDUAL_METRICS, ImageResiduals, image_residuals
from gsu_jax.metrics._inception_score import inception_score
from gsu_jax.metrics._judging import draw_samples, judge_predictions
from gsu_jax.metrics._likelihood import negative_elbo
from gsu_jax.metrics._paired import paired_test
from gsu_jax.metrics._reference import Listed, Reference, listed_images, make_reference
from gsu_jax.metrics._residual_share import ResidualShare, residual_share
from gsu_jax.metrics._sample_metrics import (
    CORRECTED_METRICS,
    SECOND_METRICS,
    corrected_fratio,
    sample_metrics,
)
from gsu_jax.metrics._seeds import (
    Interval,
    bootstrap_interval,
    position,
    prediction_interval,
)

__all__ = [
    "CORRECTED_METRICS",
    "EVIDENCE_METRICS",
    "LARGER_IS_BETTER",
    "METRICS",
    "RESIDUAL_METRICS",
    "SECOND_METRICS",
    "CorrectedShare",
    "Count",
    "DecoderEvidence",
    "Equivalence",
    "Feature",
    "FeatureRatio",
    "GaussianFit",
    "ImageResiduals",
    "Interval",
    "JudgeErrors",
    "Listed",
    "Reference",
    "ResidualShare",
    "best",
    "bootstrap_interval",
    "by_seed",
    "corrected_fratio",
    "corrected_share",
    "coverage_density",
    "decoder_evidence",
    "draw_samples",
    "equivalence_test",
    "evaluate",
    "evidence_means",
    "evidence_metrics",
    "evidence_of_kinds",
    "feature_ratio",
    "fit_gaussian",
    "frechet_distance",
    "holm",
    "image_residuals",
    "inception_score",
    "judge_predictions",
    "listed_images",
    "make_reference",
    "mean_probability",
    "negative_elbo",
    "neighbor_radii",
    "paired_test",
    "position",
    "prediction_interval",
    "residual_share",
    "sample_metrics",
]
