"""Claims about `gsu_jax.metrics`, against enumeration, closed forms and simulation."""

import itertools
import math

import numpy as np
import pytest

from gsu_jax.metrics import _seeds as statistics

VALUES = np.array([0.31, 0.36, 0.33, 0.41, 0.30])
# Student's t at 0.975, from printed tables.
STUDENT = {1: 12.706205, 2: 4.302653, 4: 2.776445, 7: 2.364624, 9: 2.262157}


def normal_tail(z):
    return math.erfc(z / math.sqrt(2)) / 2


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_the_interval_is_the_quantile_of_all_resamples_at_the_widened_level(n):
    values = np.random.default_rng(n).lognormal(size=n)
    alpha = normal_tail(math.sqrt(n / (n - 1)) * {**STUDENT, 3: 3.182446, 5: 2.570582}[n - 1])
    means = np.sort([np.mean(drawn) for drawn in itertools.product(values, repeat=n)])
    skipped = math.ceil(alpha * n**n) - 1
    low, high = statistics.bootstrap_interval(values)
    np.testing.assert_allclose([low, high], [means[skipped], means[-1 - skipped]], rtol=1e-12)


def test_two_and_three_seeds_give_their_range_and_no_more():
    for values in ([3.0, 1.0], [3.0, 1.0, 2.5]):
        assert statistics.bootstrap_interval(values) == (1.0, 3.0)


def test_drawn_resamples_agree_with_all_of_them():
    values = np.random.default_rng(0).normal(size=8)
    exact = statistics.bootstrap_interval(values, 0.8)
    drawn = statistics.bootstrap_interval(values, 0.8, resamples=6_000, seed=1)
    assert drawn != exact
    np.testing.assert_allclose(drawn, exact, atol=0.05)
    assert drawn == statistics.bootstrap_interval(values, 0.8, resamples=6_000, seed=1)


@pytest.mark.parametrize("n", [5, 10])
def test_the_interval_scales_moves_and_mirrors_with_the_values(n):
    values = np.random.default_rng(n).normal(size=n)
    low, high = statistics.bootstrap_interval(values)
    assert values.min() <= low < values.mean() < high <= values.max()
    scaled = statistics.bootstrap_interval(1e15 * values)
    np.testing.assert_allclose(scaled, [1e15 * low, 1e15 * high], rtol=1e-12)
    if n == 5:  # exact; drawn resamples of the negative are other ones
        mirrored = statistics.bootstrap_interval(-values)
        np.testing.assert_allclose(mirrored, [-high, -low], rtol=1e-12)


def test_equal_values_have_an_interval_of_no_width():
    for value in (0.0, 0.1, 3e16):
        assert statistics.bootstrap_interval([value] * 5) == (value, value)


@pytest.mark.parametrize(("n", "least"), [(5, 0.90), (8, 0.93), (10, 0.92)])
def test_the_interval_covers_the_mean_about_as_often_as_it_says(n, least):
    samples = np.random.default_rng(7).normal(size=(600, n))
    intervals = np.array([statistics.bootstrap_interval(sample) for sample in samples])
    covered = ((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)).mean()
    assert least - 0.02 <= covered <= 0.97


def test_the_upper_bound_is_the_intervals_upper_end_with_the_worst_seed_beside_it():
    found = statistics.upper_bound(VALUES)
    assert found == (statistics.bootstrap_interval(VALUES).high, 0.41, 3)
    assert VALUES.mean() < found.bound <= found.worst


@pytest.mark.parametrize("n", [2, 3, 5, 8, 10])
def test_the_prediction_interval_is_students(n):
    values = np.random.default_rng(n).normal(size=n)
    mean = values.sum() / n
    variance = ((values - mean) ** 2).sum() / (n - 1)
    reach = STUDENT[n - 1] * math.sqrt(variance * (1 + 1 / n))
    found = statistics.prediction_interval(values)
    np.testing.assert_allclose(found, [mean - reach, mean + reach], rtol=1e-5)


def test_one_more_model_lies_in_the_prediction_interval_as_often_as_it_says():
    samples = np.random.default_rng(3).normal(size=(4000, 9))
    inside = [statistics.position(sample[0], sample[1:]).inside for sample in samples]
    assert abs(np.mean(inside) - 0.95) < 0.012


def test_a_position_says_how_far_away_inside_or_not_and_how_many_times():
    ensemble = [10.0, 11.0, 12.0]
    low, high = statistics.prediction_interval(ensemble)
    found = statistics.position([11.0, low, high, high + 1e-6, 22.0], ensemble)
    unit = 1 * math.sqrt(4 / 3)
    np.testing.assert_allclose(found.z[[0, 4]], [0, 11 / unit])
    np.testing.assert_allclose(found.z[1:3], [-STUDENT[2], STUDENT[2]], rtol=1e-6)
    assert found.inside.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(found.ratio[[0, 4]], [1, 2])
    scalar = statistics.position(11.0, ensemble)
    assert (float(scalar.z), bool(scalar.inside), float(scalar.ratio)) == (0.0, True, 1.0)


def test_an_ensemble_without_spread_has_its_own_value_inside_and_all_else_infinitely_far():
    found = statistics.position([0.0, 1e-4, -1.0], [0.0, 0.0, 0.0])
    assert found.z.tolist() == [0.0, math.inf, -math.inf]
    assert found.inside.tolist() == [True, False, False]
    assert np.isnan(found.ratio).all()


def test_negative_nats_have_no_ratio():
    assert math.isnan(statistics.position(-850.0, [-900.0, -910.0]).ratio)
    assert math.isnan(statistics.position(-1.0, [900.0, 910.0]).ratio)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_paired_test_is_the_share_of_all_sign_flips(n):
    a, b = np.random.default_rng(n).normal([[0.6], [0.0]], size=(2, n))
    flips = [sum(s * d for s, d in zip(signs, a - b, strict=True))
             for signs in itertools.product((1, -1), repeat=n)]  # fmt: skip
    expected = np.mean([abs(flip) >= abs(sum(a - b)) - 1e-9 for flip in flips])
    found = statistics.paired_test(a, b)
    assert found.p == pytest.approx(expected)
    assert found.difference == pytest.approx((a - b).mean())
    assert found[1:3] == statistics.bootstrap_interval(a - b)
    assert found.p == statistics.paired_test(b, a).p


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (10, 2 / 1024)])
def test_a_clear_difference_reaches_the_smallest_p_that_the_seeds_allow(n, smallest):
    a = 1e13 * (5 + np.random.default_rng(0).random(n))
    assert statistics.paired_test(a, np.zeros(n)).p == smallest


def test_equal_pairs_and_pure_noise_are_no_difference():
    assert statistics.paired_test(VALUES, VALUES).p == 1.0
    noise = np.random.default_rng(5).normal(size=(400, 2, 8))
    p = np.array([statistics.paired_test(a, b).p for a, b in noise])
    assert (p <= 0.05).mean() < 0.08


def test_many_pairs_are_tested_by_random_flips_that_never_give_zero():
    a = 1 + np.random.default_rng(0).random(20)
    assert statistics.paired_test(a, np.zeros(20)).p == pytest.approx(1e-4)


def test_separated_needs_a_gap_between_the_intervals():
    assert statistics.separated([1.0, 2.0, 3.0], [3.1, 4.0, 5.0])
    assert not statistics.separated([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])
    assert statistics.separated([3.1, 4.0, 5.0], [1.0, 2.0, 3.0])


def rows(**values):
    return [
        {"method": method, "seed": seed, "fid": value, "coverage": value, "diverged": value is None}
        for method, found in values.items()
        for seed, value in enumerate(found)
    ]


def test_the_best_is_the_one_whose_interval_is_apart_from_every_other():
    clear = rows(before=[0.1] * 3, retrain=[0.2] * 3, a=[1.0, 1.1, 1.2], b=[1.3, 1.4, 1.5])
    assert statistics.best(clear, "fid") == "a"
    assert statistics.best(clear, "coverage") == "b"
    assert statistics.best(clear, "fid", larger=True) == "b"
    assert statistics.best(rows(a=[1.0, 1.1, 1.2], b=[1.2, 1.4, 1.5]), "fid") is None


def test_nothing_is_best_alone_or_beside_a_single_seed_or_by_surviving():
    assert statistics.best(rows(retrain=[2.0] * 3, a=[1.0, 1.1]), "fid") is None
    assert statistics.best(rows(a=[1.0, 1.1], b=[5.0]), "fid") is None
    lost = rows(a=[1.0, 1.1, None], b=[5.0, 5.1, 5.2], c=[6.0, 6.1, 6.2])
    assert statistics.best(lost, "fid") == "b"
    assert statistics.best([], "fid") is None


def test_values_by_seed_leave_out_what_diverged_or_is_missing():
    found = [
        *rows(a=[1.0, None, 2.0]),
        {"method": "a", "seed": 3, "fid": math.nan, "diverged": False},
        {"method": "a", "seed": 4, "diverged": False},
        {"method": "b", "seed": 0, "fid": 9.0, "diverged": False},
    ]
    assert statistics.by_seed(found, "a", "fid") == {0: 1.0, 2: 2.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.bootstrap_interval([1.0]), "values must be two or more"),
        (lambda: statistics.bootstrap_interval([[1.0, 2.0]]), "values must be two or more"),
        (lambda: statistics.prediction_interval([1.0, math.nan]), "values has values .* diverged"),
        (lambda: statistics.bootstrap_interval([1.0, 2.0], 95), "level must be between 0 and 1"),
        (lambda: statistics.position(math.inf, [1.0, 2.0]), "x has values"),
        (lambda: statistics.position(1.0, [2.0]), "ensemble must be two or more"),
        (lambda: statistics.paired_test([1.0, 2.0], [1.0, 2.0, 3.0]), "one value a seed each"),
    ],
)
def test_bad_input_is_named_with_its_fix(call, message):
    with pytest.raises(ValueError, match=message):
        call()
