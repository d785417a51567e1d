"""Metrics of samples and of likelihoods, and statistics over seeds."""

from gsu_jax.metrics._best import LARGER_IS_BETTER, best, by_seed
from gsu_jax.metrics._coverage import coverage_density, neighbor_radii
from gsu_jax.metrics._evaluation import METRICS, evaluate
from gsu_jax.metrics._feature_ratio import (
    Feature,
    FeatureRatio,
    feature_ratio,
    mean_probability,
)
from gsu_jax.metrics._frechet import GaussianFit, fit_gaussian, frechet_distance
from gsu_jax.metrics._inception_score import inception_score
from gsu_jax.metrics._judging import judge_predictions
from gsu_jax.metrics._likelihood import negative_elbo
from gsu_jax.metrics._paired import paired_test
from gsu_jax.metrics._reference import Listed, Reference, listed_images, make_reference
from gsu_jax.metrics._seeds import (
    Interval,
    bootstrap_interval,
    position,
    prediction_interval,
)

__all__ = [
    "LARGER_IS_BETTER",
    "METRICS",
    "Feature",
    "FeatureRatio",
    "GaussianFit",
    "Interval",
    "Listed",
    "Reference",
    "best",
    "bootstrap_interval",
    "by_seed",
    "coverage_density",
    "evaluate",
    "feature_ratio",
    "fit_gaussian",
    "frechet_distance",
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
]
