"""Metrics as formulas: each against a closed form or an independent oracle."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats

from gsu_jax.metrics import (
    GaussianFit,
    coverage_density,
    feature_ratio,
    fit_gaussian,
    frechet_distance,
    inception_score,
    mean_probability,
    neighbor_radii,
)


def random_log_probabilities(rng, n, classes, scale):
    return scipy.special.log_softmax(rng.normal(scale=scale, size=(n, classes)), axis=1)


def random_covariance(rng, d, rank):
    factor = rng.normal(size=(d, rank))
    return factor @ factor.T / rank


# fratio


@pytest.mark.parametrize(("count", "n"), [(1, 10), (37, 100), (99, 100), (3, 10_000)])
def test_upper_bound_is_clopper_pearson_quantile(count, n):
    predicted = np.array([2] * count + [0] * (n - count))
    found = feature_ratio(predicted, 2)
    assert (found.ratio, found.count, found.n) == (count / n, count, n)
    assert found.upper95 == pytest.approx(scipy.stats.beta.ppf(0.95, count + 1, n - count))


def test_upper_bound_leaves_five_percent_below_count():
    found = feature_ratio(np.array([1] * 7 + [0] * 493), 1)
    assert scipy.stats.binom.cdf(7, 500, found.upper95) == pytest.approx(0.05)


@pytest.mark.parametrize("n", [1, 50, 10_000])
def test_upper_bound_at_no_and_all_samples(n):
    assert feature_ratio(np.zeros(n, int), 1).upper95 == pytest.approx(1 - 0.05 ** (1 / n))
    assert feature_ratio(np.ones(n, int), 1) == (1.0, 1.0, n, n)


def test_feature_ratio_refuses_floats_and_no_samples():
    with pytest.raises(TypeError, match=r"predicted.*got float64"):
        feature_ratio(np.array([0.2, 0.9]), 1)
    with pytest.raises(ValueError, match=r"predicted.*got shape \(0,\)"):
        feature_ratio(np.array([], int), 1)


def test_mean_probability_differs_from_hard_predictions():
    log_probabilities = np.log([[0.51, 0.49]] * 4)
    assert feature_ratio(log_probabilities.argmax(1), 1).ratio == 0.0
    assert mean_probability(log_probabilities, 1) == pytest.approx(0.49)
    with pytest.raises(ValueError, match=r"feature.*got 2"):
        mean_probability(log_probabilities, 2)


# Inception score


def test_inception_score_counts_even_classes():
    with np.errstate(divide="ignore"):
        sure = np.log(np.eye(5)[np.arange(30) % 3])
    assert inception_score(sure) == pytest.approx(3.0)


@pytest.mark.parametrize("row", [[1 / 3] * 3, [0.7, 0.2, 0.1]])
def test_inception_score_of_equal_samples_is_one(row):
    assert inception_score(np.log([row] * 20)) == pytest.approx(1.0)


def test_inception_score_equals_scipy():
    log_probabilities = random_log_probabilities(np.random.default_rng(0), 200, 4, 2.0)
    probabilities = np.exp(log_probabilities)
    divergences = [scipy.stats.entropy(p, probabilities.mean(0)) for p in probabilities]
    assert inception_score(log_probabilities) == pytest.approx(math.exp(np.mean(divergences)))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e3, 1e30])
def test_inception_score_stays_in_bounds(scale):
    rng = np.random.default_rng(1)
    for n in (1, 3, 300):
        score = inception_score(random_log_probabilities(rng, n, 3, scale))
        assert 1.0 <= score <= 3.0


@pytest.mark.parametrize("bad", [[[5.0, 900.0]], [[np.nan, 0.0]], [[-1.0, -1.0]]])
def test_inception_score_refuses_logits(bad):
    with pytest.raises(ValueError, match="log_probabilities"):
        inception_score(bad)


# Frechet distance


def test_fit_equals_numpy():
    features = np.random.default_rng(2).normal(1e3, 1.0, (500, 6)).astype(np.float32)
    fit = fit_gaussian(features)
    assert fit.covariance.dtype == np.float64
    np.testing.assert_allclose(fit.mean, features.astype(np.float64).mean(0))
    np.testing.assert_allclose(fit.covariance, np.cov(features.astype(np.float64), rowvar=False))


def test_frechet_distance_of_commuting_gaussians():
    means, deviations = np.array([[0.0, 1.0], [3.0, -1.0]]), np.array([[1.0, 2.0], [0.5, 5.0]])
    a, b = (GaussianFit(m, np.diag(s**2), 9) for m, s in zip(means, deviations, strict=True))
    expected = np.square(means[0] - means[1]).sum() + np.square(deviations[0] - deviations[1]).sum()
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_frechet_distance_equals_scipy(scale):
    rng = np.random.default_rng(3)
    a, b = (
        GaussianFit(rng.normal(size=12), scale * random_covariance(rng, 12, 30), 99)
        for _ in range(2)
    )
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = np.square(a.mean - b.mean).sum() + np.trace(
        a.covariance + b.covariance - 2 * np.real(root)
    )
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_singular_fit_to_itself_is_zero():
    covariance = random_covariance(np.random.default_rng(4), 64, 20)
    fit = GaussianFit(np.zeros(64), covariance, 21)
    # Eigenvalues of the product would leave about 1e-7 here.
    assert 0.0 <= frechet_distance(fit, fit) < 1e-11


def test_fit_refuses_non_finite_features():
    features = np.ones((4, 2))
    features[1, 0], features[3, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"features has 2 of 4"):
        fit_gaussian(features)
    with pytest.raises(ValueError, match="features"):
        fit_gaussian(features[:1])


def test_frechet_distance_refuses_other_widths():
    a, b = (fit_gaussian(np.random.default_rng(5).normal(size=(9, d))) for d in (2, 3))
    with pytest.raises(ValueError, match="widths 2 and 3"):
        frechet_distance(a, b)


# Coverage and density


def test_coverage_and_density_equal_their_definition():
    rng = np.random.default_rng(6)
    real, fake, k = rng.normal(size=(150, 3)), rng.normal(0.7, 1.5, (90, 3)), 4
    distances = np.linalg.norm(real[:, None] - real[None], axis=2)
    radii = np.sort(distances, axis=1)[:, k]
    inside = np.linalg.norm(real[:, None] - fake[None], axis=2) <= radii[:, None]
    np.testing.assert_allclose(neighbor_radii(real, k), radii, rtol=1e-5)
    assert coverage_density(real, fake, k) == pytest.approx(
        (inside.any(1).mean(), inside.sum() / (k * 90))
    )


def test_coverage_and_density_ignore_origin():
    rng = np.random.default_rng(12)
    real, fake = rng.normal(size=(150, 3)), rng.normal(0.7, 1.5, (90, 3))
    assert coverage_density(real + 1e7, fake + 1e7) == coverage_density(real, fake)


def test_set_covers_itself():
    real = np.random.default_rng(7).normal(50.0, 1.0, (300, 8)).astype(np.float32)
    coverage, density = coverage_density(real, real)
    assert coverage == 1.0
    assert density >= 1.0


@pytest.mark.parametrize(("seed", "n", "width"), [(2, 300, 200), (1, 301, 7), (2, 301, 7)])
def test_sample_covers_its_copies(seed, n, width):
    # Cases in which rounding puts a copy outside a radius of zero.
    real = np.random.default_rng(seed).normal(size=(n, width))
    real[:100] = real[0]
    coverage, density = coverage_density(real, real[:1])
    assert coverage >= 100 / n
    assert density >= 100 / 5


def test_distant_clusters_cover_nothing():
    rng = np.random.default_rng(8)
    real, fake = rng.normal(0.0, 1.0, (200, 4)), rng.normal(100.0, 1.0, (200, 4))
    assert coverage_density(real, fake) == (0.0, 0.0)


def test_collapsed_model_is_dense_and_covers_little():
    real = np.random.default_rng(9).normal(size=(1500, 2))
    fake = np.tile(real.mean(0), (2500, 1))
    coverage, density = coverage_density(real, fake)
    assert coverage < 0.02
    assert density > 0.5


def test_two_draws_of_one_distribution_score_as_in_paper():
    rng = np.random.default_rng(10)
    real, fake = rng.normal(size=(2, 2000, 16))
    coverage, density = coverage_density(real, fake, radii=neighbor_radii(real))
    # Expected coverage (Naeem et al. 2020): 1 - (m-1)...(m-k) / ((2m-1)...(2m-k)), near 1 - 2^-k.
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)
    assert density == pytest.approx(1.0, abs=0.1)


def test_coverage_refuses():
    real = np.random.default_rng(11).normal(size=(5, 2))
    with pytest.raises(ValueError, match=r"k.*got 5"):
        coverage_density(real, real)
    with pytest.raises(ValueError, match=r"radii.*got \(4,\)"):
        coverage_density(real, real, 2, radii=np.ones(4))
    with pytest.raises(ValueError, match="fake"):
        coverage_density(real, real * np.inf, 2)
