"""Statistics over seeds, against enumeration, closed forms and simulation."""

import itertools
import math

import numpy as np
import pytest

from gsu_jax import metrics
from gsu_jax.metrics._seeds import separated

VALUES = np.array([0.31, 0.36, 0.33, 0.41, 0.30])
# Student's t at 0.975, from printed tables.
STUDENT = {1: 12.706205, 2: 4.302653, 4: 2.776445, 7: 2.364624, 9: 2.262157}


def normal_tail(z):
    return math.erfc(z / math.sqrt(2)) / 2


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_interval_is_quantile_of_all_resamples_at_widened_level(n):
    values = np.random.default_rng(n).lognormal(size=n)
    alpha = normal_tail(math.sqrt(n / (n - 1)) * {**STUDENT, 3: 3.182446, 5: 2.570582}[n - 1])
    means = np.sort([np.mean(drawn) for drawn in itertools.product(values, repeat=n)])
    skipped = math.ceil(alpha * n**n) - 1
    low, high = metrics.bootstrap_interval(values)
    np.testing.assert_allclose([low, high], [means[skipped], means[-1 - skipped]], rtol=1e-12)


def test_two_or_three_seeds_give_their_range():
    for values in ([3.0, 1.0], [3.0, 1.0, 2.5]):
        assert metrics.bootstrap_interval(values) == (1.0, 3.0)


def test_random_resamples_agree_with_enumeration():
    values = np.random.default_rng(0).normal(size=8)
    exact = metrics.bootstrap_interval(values, 0.8)
    drawn = metrics.bootstrap_interval(values, 0.8, resamples=6_000, seed=1)
    assert drawn != exact
    np.testing.assert_allclose(drawn, exact, atol=0.05)
    assert drawn == metrics.bootstrap_interval(values, 0.8, resamples=6_000, seed=1)


@pytest.mark.parametrize("n", [5, 10])
def test_interval_scales_and_mirrors_with_values(n):
    values = np.random.default_rng(n).normal(size=n)
    low, high = metrics.bootstrap_interval(values)
    assert values.min() <= low < values.mean() < high <= values.max()
    scaled = metrics.bootstrap_interval(1e15 * values)
    np.testing.assert_allclose(scaled, [1e15 * low, 1e15 * high], rtol=1e-12)
    if n == 5:  # exact; drawn resamples of the negative are other ones
        mirrored = metrics.bootstrap_interval(-values)
        np.testing.assert_allclose(mirrored, [-high, -low], rtol=1e-12)


def test_equal_values_have_interval_of_zero_width():
    for value in (0.0, 0.1, 3e16):
        assert metrics.bootstrap_interval([value] * 5) == (value, value)


@pytest.mark.parametrize(("n", "least"), [(5, 0.90), (8, 0.93), (10, 0.92)])
def test_interval_covers_mean_at_its_level(n, least):
    samples = np.random.default_rng(7).normal(size=(600, n))
    intervals = np.array([metrics.bootstrap_interval(sample) for sample in samples])
    covered = ((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)).mean()
    assert least - 0.02 <= covered <= 0.97


@pytest.mark.parametrize("n", [2, 3, 5, 8, 10])
def test_prediction_interval_is_students(n):
    values = np.random.default_rng(n).normal(size=n)
    mean = values.sum() / n
    variance = ((values - mean) ** 2).sum() / (n - 1)
    reach = STUDENT[n - 1] * math.sqrt(variance * (1 + 1 / n))
    found = metrics.prediction_interval(values)
    np.testing.assert_allclose(found, [mean - reach, mean + reach], rtol=1e-5)


def test_prediction_interval_covers_one_more_model_at_its_level():
    samples = np.random.default_rng(3).normal(size=(4000, 9))
    inside = [metrics.position(sample[0], sample[1:]).inside for sample in samples]
    assert abs(np.mean(inside) - 0.95) < 0.012


def test_position_has_z_inside_and_ratio():
    ensemble = [10.0, 11.0, 12.0]
    low, high = metrics.prediction_interval(ensemble)
    found = metrics.position([11.0, low, high, high + 1e-6, 22.0], ensemble)
    unit = 1 * math.sqrt(4 / 3)
    np.testing.assert_allclose(found.z[[0, 4]], [0, 11 / unit])
    np.testing.assert_allclose(found.z[1:3], [-STUDENT[2], STUDENT[2]], rtol=1e-6)
    assert found.inside.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(found.ratio[[0, 4]], [1, 2])
    scalar = metrics.position(11.0, ensemble)
    assert (float(scalar.z), bool(scalar.inside), float(scalar.ratio)) == (0.0, True, 1.0)


def test_position_in_ensemble_without_spread():
    found = metrics.position([0.0, 1e-4, -1.0], [0.0, 0.0, 0.0])
    assert found.z.tolist() == [0.0, math.inf, -math.inf]
    assert found.inside.tolist() == [True, False, False]
    assert np.isnan(found.ratio).all()


def test_negative_values_have_no_ratio():
    assert math.isnan(metrics.position(-850.0, [-900.0, -910.0]).ratio)
    assert math.isnan(metrics.position(-1.0, [900.0, 910.0]).ratio)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_paired_test_is_share_of_all_sign_flips(n):
    a, b = np.random.default_rng(n).normal([[0.6], [0.0]], size=(2, n))
    flips = [sum(s * d for s, d in zip(signs, a - b, strict=True))
             for signs in itertools.product((1, -1), repeat=n)]  # fmt: skip
    expected = np.mean([abs(flip) >= abs(sum(a - b)) - 1e-9 for flip in flips])
    found = metrics.paired_test(a, b)
    assert found.p == pytest.approx(expected)
    assert found.difference == pytest.approx((a - b).mean())
    assert found[1:3] == metrics.bootstrap_interval(a - b)
    assert found.p == metrics.paired_test(b, a).p


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (10, 2 / 1024)])
def test_clear_difference_reaches_smallest_p(n, smallest):
    a = 1e13 * (5 + np.random.default_rng(0).random(n))
    assert metrics.paired_test(a, np.zeros(n)).p == smallest


def test_equal_pairs_and_noise_do_not_differ():
    assert metrics.paired_test(VALUES, VALUES).p == 1.0
    noise = np.random.default_rng(5).normal(size=(400, 2, 8))
    p = np.array([metrics.paired_test(a, b).p for a, b in noise])
    assert (p <= 0.05).mean() < 0.08


def test_random_flips_never_give_zero_p():
    a = 1 + np.random.default_rng(0).random(20)
    assert metrics.paired_test(a, np.zeros(20)).p == pytest.approx(1e-4)


def test_separated_needs_gap_between_intervals():
    assert separated([1.0, 2.0, 3.0], [3.1, 4.0, 5.0])
    assert not separated([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])
    assert separated([3.1, 4.0, 5.0], [1.0, 2.0, 3.0])


def rows(**values):
    return [
        {"method": method, "seed": seed, "fid": value, "coverage": value, "diverged": value is None}
        for method, found in values.items()
        for seed, value in enumerate(found)
    ]


def test_best_is_separated_from_all_others():
    clear = rows(a=[1.0, 1.1, 1.2], b=[1.3, 1.4, 1.5])
    assert metrics.best(clear, "fid") == "a"
    assert metrics.best(clear, "coverage") == "b"
    assert metrics.best(clear, "fid", larger=True) == "b"
    assert metrics.best(rows(a=[1.0, 1.1, 1.2], b=[1.2, 1.4, 1.5]), "fid") is None


def test_best_ignores_single_seeds_and_survivors():
    assert metrics.best(rows(a=[1.0, 1.1]), "fid") is None
    assert metrics.best(rows(a=[1.0, 1.1], b=[5.0]), "fid") is None
    lost = rows(a=[1.0, 1.1, None], b=[5.0, 5.1, 5.2], c=[6.0, 6.1, 6.2])
    assert metrics.best(lost, "fid") == "b"
    assert metrics.best([], "fid") is None


def test_by_seed_skips_diverged_and_missing_values():
    found = [
        *rows(a=[1.0, None, 2.0]),
        {"method": "a", "seed": 3, "fid": math.nan, "diverged": False},
        {"method": "a", "seed": 4, "diverged": False},
        {"method": "b", "seed": 0, "fid": 9.0, "diverged": False},
    ]
    assert metrics.by_seed(found, "a", "fid") == {0: 1.0, 2: 2.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.bootstrap_interval([1.0]), r"values.*got shape \(1,\)"),
        (lambda: metrics.bootstrap_interval([[1.0, 2.0]]), r"values.*got shape \(1, 2\)"),
        (lambda: metrics.prediction_interval([1.0, math.nan]), "values"),
        (lambda: metrics.bootstrap_interval([1.0, 2.0], 95), "level.*got 95"),
        (lambda: metrics.position(math.inf, [1.0, 2.0]), "x"),
        (lambda: metrics.position(1.0, [2.0]), "ensemble"),
        (lambda: metrics.paired_test([1.0, 2.0], [1.0, 2.0, 3.0]), "a and b.*got 2 and 3"),
    ],
)
def test_errors_name_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
