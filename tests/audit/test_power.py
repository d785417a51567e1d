"""Powers agree with simulation and with the tables of the field."""

import numpy as np
import pytest

from gsu_jax.audit import (
    attack_power,
    attack_rates,
    auc_of_shift,
    detectable_shift,
    difference_power,
    equivalence_power,
    tpr_of_shift,
)
from gsu_jax.metrics import equivalence_test, position

REPEATS = 2000


@pytest.mark.parametrize(("shift", "m"), [(0.0, 6), (2.0, 6), (3.0, 12)])
def test_power_of_one_model_is_how_often_it_lies_outside(shift, m):
    rng = np.random.default_rng(0)
    outside = [
        not position(shift + rng.normal(), rng.normal(size=m)).inside for _ in range(REPEATS)
    ]
    assert difference_power(shift, 1, m) == pytest.approx(np.mean(outside), abs=0.03)


def test_power_of_groups_is_how_often_a_t_test_finds_them():
    rng = np.random.default_rng(0)
    a, b = 1.0 + rng.normal(size=(REPEATS, 8)), rng.normal(size=(REPEATS, 12))
    pooled = (7 * a.var(axis=1, ddof=1) + 11 * b.var(axis=1, ddof=1)) / 18
    t = (a.mean(axis=1) - b.mean(axis=1)) / np.sqrt(pooled * (1 / 8 + 1 / 12))
    assert difference_power(1.0, 8, 12) == pytest.approx(np.mean(np.abs(t) > 2.101), abs=0.03)


def test_power_of_equivalence_is_how_often_equality_shows():
    rng = np.random.default_rng(0)

    def shown():
        unlearned, retrained = rng.normal(size=6), rng.normal(size=9)
        return equivalence_test(unlearned, retrained, 1.8 * retrained.std(ddof=1)).p < 0.05

    found = np.mean([shown() for _ in range(REPEATS)])
    assert equivalence_power(1.8, 6, 9) == pytest.approx(found, abs=0.04)


@pytest.mark.parametrize("shift", [0.3, 0.6])
def test_power_of_an_attack_is_how_often_its_interval_excludes_half(shift):
    rng = np.random.default_rng(0)
    low = [
        attack_rates(shift + rng.normal(size=60), rng.normal(size=90)).auc.low for _ in range(1000)
    ]
    assert attack_power(shift, 60, 90) == pytest.approx(np.mean(np.array(low) > 0.5), abs=0.05)


@pytest.mark.parametrize(
    ("n", "shift"), [(5, 2.02), (8, 1.51), (16, 1.02), (64, 0.50), (512, 0.18)]
)
def test_detectable_shift_of_equal_groups(n, shift):
    assert detectable_shift(n, n) == pytest.approx(shift, abs=0.01)


@pytest.mark.parametrize(("m", "shift"), [(8, 3.47), (16, 3.09), (32, 2.94), (64, 2.87)])
def test_detectable_shift_of_one_model(m, shift):
    assert detectable_shift(1, m) == pytest.approx(shift, abs=0.02)


@pytest.mark.parametrize(
    ("n", "margin", "power"),
    [(8, 1.5, 0.682), (10, 1.5, 0.813), (16, 1.5, 0.966)],  # of 40,000 draws
)
def test_equivalence_power_of_equal_groups(n, margin, power):
    assert equivalence_power(margin, n, n) == pytest.approx(power, abs=0.01)


def test_power_grows_to_one_without_a_gap():
    powers = [difference_power(shift, 1, 199) for shift in np.linspace(0, 60, 121)]
    assert (np.diff(powers) >= -1e-9).all()
    assert powers[-1] == 1


def test_rates_of_normal_scores():
    assert auc_of_shift(0.5) == pytest.approx(0.638, abs=1e-3)
    assert tpr_of_shift(2.0, 0.001) == pytest.approx(0.138, abs=1e-3)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="m must be at least 2"):
        difference_power(1.0, 1, 1)
    with pytest.raises(ValueError, match="power must be between 1 - level and 1"):
        detectable_shift(5, 5, power=0.01)
    with pytest.raises(ValueError, match="margin must be above 0"):
        equivalence_power(0.0, 5, 5)
    with pytest.raises(ValueError, match="others must be at least 1"):
        attack_power(1.0, 5, 0)
