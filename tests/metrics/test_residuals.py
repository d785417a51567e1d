"""Residual shares, residuals of images and tests of equivalence, against simulation."""

import math

import numpy as np
import pytest

from gsu_jax.metrics import equivalence_test, image_residuals, residual_share

BEFORE, RETRAINED, UNLEARNED = [-20.0, -20.2, -19.9], [-24.0, -24.4, -24.2], [-22.0, -22.2, -22.1]


# rho


def test_rho_is_one_before_zero_as_retrained_and_negative_beyond():
    before, retrained = np.array(BEFORE), np.array(RETRAINED)
    assert residual_share(before, before, retrained).rho == 1
    assert residual_share(retrained, before, retrained).rho == pytest.approx(0)
    assert residual_share(retrained - 1, before, retrained).rho < 0


def test_interval_holds_rho_and_grows_with_the_spread_of_the_seeds():
    found = residual_share(UNLEARNED, BEFORE, RETRAINED)
    assert found.low < found.rho < found.high
    wide = residual_share(np.add(UNLEARNED, [-1, 0, 1]), BEFORE, RETRAINED)
    assert wide.high - wide.low > 2 * (found.high - found.low)
    assert found == residual_share(UNLEARNED, BEFORE, RETRAINED)
    assert found.n == 3


def test_rho_has_no_unit():
    found = residual_share(UNLEARNED, BEFORE, RETRAINED)
    scaled = residual_share(*(5 - 3 * np.array(x) for x in (UNLEARNED, BEFORE, RETRAINED)))
    np.testing.assert_allclose(scaled, found, rtol=1e-9)


@pytest.mark.parametrize(("pairs", "models", "expected"), [(5, 8, 0.95), (10, 10, 0.95)])
def test_interval_covers_the_true_share(pairs, models, expected):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        seeds = rng.normal(size=pairs)  # shared by the models before and after
        before = 5 + seeds
        unlearned = 2 + 0.8 * seeds + 0.4 * rng.normal(size=pairs)
        low, high = residual_share(unlearned, before, rng.normal(size=models), resamples=500)[1:3]
        covered.append(low <= 0.4 <= high)
    assert np.mean(covered) == pytest.approx(expected, abs=0.04)


def test_without_a_clear_gap_the_interval_is_unbounded():
    found = residual_share([1.0, 2.0], [1.0, 3.0], [0.0, 2.0])
    assert found[1:3] == (-math.inf, math.inf)
    assert math.isnan(residual_share([1.0, 2.0], [1.0, 1.0], [1.0, 1.0]).rho)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0], RETRAINED), "unlearned .*two or more"),
        (([1.0, 2.0], BEFORE, RETRAINED), "unlearned and before .*got 2 and 3"),
        ((UNLEARNED, BEFORE, [1.0, np.nan]), "retrained .*finite"),
    ],
)
def test_share_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        residual_share(*arguments)


# e


def ensemble(models, images, spread, seed=0):
    """Retrained models and one more, whose images have their own mean and deviation."""
    rng = np.random.default_rng(seed)
    deviation = np.exp(spread * rng.normal(size=images))
    drawn = 100 * rng.normal(size=images) + deviation * rng.normal(size=(models + 1, images))
    return drawn[:-1], drawn[-1], deviation


@pytest.mark.parametrize("models", [3, 8, 30])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_one_more_retrained_model_is_outside_for_one_image_in_twenty(models, spread):
    retrained, one_more, _ = ensemble(models, 4000, spread)
    found = image_residuals(one_more, retrained)
    assert found.outside == pytest.approx(0.05, abs=0.015)
    assert image_residuals(one_more + 5, retrained).outside > 0.5


def test_deviations_are_shrunk_towards_the_pool_where_models_are_few():
    retrained, one_more, true = ensemble(4, 4000, 0.3)
    away = one_more - retrained.mean(axis=0)
    shrunk = away / image_residuals(one_more, retrained).values
    own = retrained.std(axis=0, ddof=1)
    assert np.mean((shrunk - true) ** 2) < 0.5 * np.mean((own - true) ** 2)
    assert own.min() < shrunk.min()
    assert shrunk.max() < own.max()


def test_equal_variances_give_the_pooled_deviation():
    retrained = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    found = image_residuals([2.0, 8.0], retrained)
    assert found.values.tolist() == [0.0, 2.0]
    assert found.limit == pytest.approx(1.96 * math.sqrt(4 / 3), rel=1e-3)


@pytest.mark.parametrize(
    ("phi", "retrained", "message"),
    [
        ([1.0], [[1.0]], r"retrained .*\(1, 1\)"),
        ([1.0, 2.0], [[1.0], [2.0]], r"\(2, 1\) and \(2,\)"),
        ([np.inf], [[1.0], [2.0]], "finite"),
        ([1.0], [[1.0], [1.0]], "all equal"),
    ],
)
def test_residuals_refuse(phi, retrained, message):
    with pytest.raises(ValueError, match=message):
        image_residuals(phi, retrained)


# Equivalence


def standardized(n):
    """Returns n values of mean 0 and sample deviation 1."""
    values = np.linspace(-1, 1, n)
    return values / values.std(ddof=1)


@pytest.mark.parametrize(
    ("models", "margin", "power"),
    [(8, 1, 0.28), (8, 1.5, 0.82), (10, 1, 0.45), (10, 1.5, 0.91), (18, 1, 0.82), (32, 1, 0.98)],
)
def test_power_is_that_of_the_table(models, margin, power):
    values = standardized(models)
    assert equivalence_test(values, values, margin).power == pytest.approx(power, abs=0.01)


def test_power_is_the_share_of_equal_groups_that_are_found_equal():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(1000, 2, 18))
    found = np.mean([equivalence_test(a, b, 1.0).p < 0.05 for a, b in drawn])
    assert found == pytest.approx(0.82, abs=0.06)


def test_groups_that_differ_by_the_margin_pass_in_one_case_of_twenty():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2000, 2, 10))
    passed = np.mean([equivalence_test(a, b + 1.5, 1.5).p < 0.05 for a, b in drawn])
    assert passed == pytest.approx(0.05, abs=0.015)


def test_small_p_is_an_interval_within_the_margin():
    rng = np.random.default_rng(1)
    for a, b in rng.normal(size=(50, 2, 6)):
        found = equivalence_test(a, b + 0.5, 1.2)
        assert (found.p < 0.05) == (max(-found.low, found.high) < 1.2)
        assert found.low < found.difference < found.high


def test_groups_without_spread_are_equal_or_not():
    found = equivalence_test([1.0, 1.0], [1.5, 1.5], 1.0)
    assert (found.p, found.power, found.p_difference) == (0.0, 1.0, 0.0)
    assert equivalence_test([1.0, 1.0], [1.0, 1.0], 1.0).p_difference == 1.0
    assert equivalence_test([1.0, 1.0], [3.0, 3.0], 1.0).p == 1.0


def test_equivalence_refuses():
    with pytest.raises(ValueError, match=r"margin .*above 0, got 0"):
        equivalence_test([1.0, 2.0], [1.0, 2.0], 0)
    with pytest.raises(ValueError, match="b must be two or more"):
        equivalence_test([1.0, 2.0], [1.0], 1)
