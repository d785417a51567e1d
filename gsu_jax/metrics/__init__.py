"""Metrics: what a judge sees in a model's samples, and what the model makes of test images."""

from gsu_jax.metrics.coverage import coverage_density, neighbour_radii
from gsu_jax.metrics.evaluation import (
    METRICS,
    Reference,
    evaluate,
    make_reference,
)
from gsu_jax.metrics.feature_ratio import FeatureRatio, feature_ratio, mean_probability
from gsu_jax.metrics.frechet import GaussianFit, fit_gaussian, frechet_distance
from gsu_jax.metrics.inception_score import inception_score
from gsu_jax.metrics.judging import judge_predictions
from gsu_jax.metrics.likelihood import negative_elbo

__all__ = [
    "METRICS",
    "FeatureRatio",
    "GaussianFit",
    "Reference",
    "coverage_density",
    "evaluate",
    "feature_ratio",
    "fit_gaussian",
    "frechet_distance",
    "inception_score",
    "judge_predictions",
    "make_reference",
    "mean_probability",
    "negative_elbo",
    "neighbour_radii",
]
