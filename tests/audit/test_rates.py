"""Intervals hold what they promise, and bounds of epsilon agree with the tables."""

import math

import numpy as np
import pytest
from scipy.special import bdtrc, expit, ndtr

from gsu_jax.audit import (
    attack_rates,
    clopper_pearson,
    epsilon_bounds,
    one_run_epsilon,
)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_interval_of_the_auc_covers_it(shift):
    rng, true = np.random.default_rng(0), ndtr(shift / math.sqrt(2))
    found = [attack_rates(shift + rng.normal(size=40), rng.normal(size=60)) for _ in range(1500)]
    assert np.mean([f.auc.low <= true <= f.auc.high for f in found]) >= 0.93


def test_auc_is_signed_and_counts_ties_half():
    below, above = np.zeros(50), np.ones(50)
    assert attack_rates(below, above).auc.value == 0
    assert attack_rates(above, below).auc.value == 1
    tied = attack_rates(below, below).auc
    assert tied.value == 0.5
    assert tied.low < 0.5 < tied.high


def test_perfect_separation_of_few_images_has_a_wide_interval():
    assert attack_rates(np.ones(4), np.zeros(4)).auc.low < 0.6


def test_true_positive_rates_of_normal_scores_are_the_known_ones():
    rng = np.random.default_rng(0)
    found = attack_rates(2 + rng.normal(size=20_000), rng.normal(size=20_000))
    assert found.tpr_1_percent.value == pytest.approx(ndtr(2 - 2.326), abs=0.02)
    assert found.tpr_01_percent.value == pytest.approx(ndtr(2 - 3.090), abs=0.02)


def test_rate_that_the_others_are_too_few_for_is_not_a_number():
    found = attack_rates(np.ones(500), np.zeros(500))
    assert found.tpr_1_percent.value == 1
    assert math.isnan(found.tpr_01_percent.value)
    assert found.tpr_01_percent[1:] == (0, 1)


def test_threshold_lets_no_more_of_the_others_pass_than_it_may():
    members, others = np.array([5.0, 6.0]), np.arange(200.0)
    assert attack_rates(members + 192, others).tpr_1_percent.value == 0.5  # above 197


@pytest.mark.parametrize(("k", "n"), [(0, 30), (3, 30), (30, 30)])
def test_clopper_pearson_covers(k, n):
    low, high = clopper_pearson(k, n)
    draws = np.random.default_rng(0)
    if k:
        assert np.mean(draws.binomial(n, low, 20_000) >= k) == pytest.approx(0.025, abs=0.004)
    if k < n:
        assert np.mean(draws.binomial(n, high, 20_000) <= k) == pytest.approx(0.025, abs=0.004)


@pytest.mark.parametrize("n", [64, 512])
def test_epsilon_of_perfect_separation_is_almost_what_the_counted_half_can_prove(n):
    found = epsilon_bounds(np.arange(n) + 1000.0, np.arange(n)).clopper_pearson
    share = 0.0125 ** (1 / (n // 2))  # lower end of n/2 of n/2, a quarter of 5 % at each end
    assert -0.4 < found - math.log(share / (1 - share)) <= 0


@pytest.mark.parametrize(
    ("right", "guesses", "epsilon"),
    [(60, 100, 0.05), (80, 100, 0.96), (100, 100, 3.49), (160, 200, 1.09), (550, 1000, 0.09)],
)
def test_epsilon_of_one_run(right, guesses, epsilon):
    assert one_run_epsilon(right, guesses) == pytest.approx(epsilon, abs=0.01)


@pytest.mark.parametrize(("right", "guesses"), [(60, 100), (160, 200), (550, 1000)])
def test_epsilon_of_one_run_solves_its_definition(right, guesses):
    share = expit(one_run_epsilon(right, guesses))
    assert bdtrc(right - 1, guesses, share) == pytest.approx(0.05, rel=1e-6)


def test_guesses_no_better_than_a_coin_prove_nothing():
    assert one_run_epsilon(50, 100) == one_run_epsilon(0, 100) == 0


@pytest.mark.parametrize(("right", "guesses"), [(60, 100), (160, 200), (550, 1000)])
def test_epsilon_of_one_run_is_that_of_jax_privacy(right, guesses):
    auditing = pytest.importorskip("jax_privacy.auditing")
    auditor = auditing.CanaryScoreAuditor(np.ones(right), np.ones(guesses - right))
    other = auditor.epsilon_one_run(0.05, 1e-12, threshold_strategy=auditing.Explicit(0.0))
    assert one_run_epsilon(right, guesses) == pytest.approx(other, abs=1e-5)


def test_bounds_of_equal_groups_are_seldom_above_zero():
    rng = np.random.default_rng(0)
    found = [epsilon_bounds(rng.normal(size=100), rng.normal(size=100)) for _ in range(100)]
    assert (np.mean(np.array(found) > 0, axis=0) <= 0.05).all()
    uneven = [epsilon_bounds(rng.normal(size=128), rng.normal(size=36)) for _ in range(100)]
    assert (np.mean(np.array(uneven) > 0, axis=0) <= 0.05).all()


def test_bounds_find_members_on_either_side():
    rng = np.random.default_rng(0)
    members, others = 5 + rng.normal(size=200), rng.normal(size=200)
    above, below = epsilon_bounds(members, others), epsilon_bounds(-members, -others)
    assert min(above.clopper_pearson, below.clopper_pearson) > 2
    assert min(above.one_run, below.one_run) > 2
    assert epsilon_bounds(members, others, delta=0.1).clopper_pearson < above.clopper_pearson


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"members must be one or more finite scores \[n\]"):
        attack_rates(np.zeros((2, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="others must be one or more finite scores"):
        attack_rates(np.zeros(2), [0.0, np.nan])
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        attack_rates([1.0], [0.0], level=95)
    with pytest.raises(ValueError, match=r"k must be in 0..n, got 3 of 2"):
        clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="delta must be in"):
        epsilon_bounds([1.0, 2.0], [1.0, 2.0], delta=1.0)
    with pytest.raises(ValueError, match="members must be two or more scores"):
        epsilon_bounds([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"right must be in 0..10, got 11"):
        one_run_epsilon(11, 10)
