"""Thresholds against retrained models: false alarms at the stated level, and a true power."""

import math

import numpy as np
import pytest

from gsu_jax.removal.service._held_against import (
    HELD,
    Held,
    against,
    allowed,
    interval_of,
    limits_of,
)
from gsu_jax.removal.service._lines import level_of
from gsu_jax.removal.service._measures import Figure

TWO_SIDED, ABOVE = Held("a", 0), Held("a", 1)
SHARE = HELD["V2 share, retrained"]
RETRAINED = np.array([1.0, 1.1, 0.9, 1.2, 1.0, 0.8, 1.1, 0.9])


def figure(original, retrained=RETRAINED) -> Figure:
    return Figure(1.0, retrained, np.array(original), np.array(original))


def test_line_fails_on_its_side_alone():
    def verdict(value, held, power=1.0):
        line = against("x", value, RETRAINED, held=held, samples=100, power=power, level=0.95)
        return str(line.verdict)

    values = (0.0, 1.0, 2.0)
    assert [verdict(v, TWO_SIDED) for v in values] == ["FAILED", "PASSED", "FAILED"]
    assert [verdict(v, ABOVE) for v in values] == ["PASSED", "PASSED", "FAILED"]
    assert verdict(1.0, ABOVE, power=0.7) == "NOT DETECTABLE"


def test_power_is_no_more_than_the_share_of_originals_that_are_found():
    far, half = figure([9.0] * 8), figure([9.0] * 4 + [1.0] * 4)
    assert limits_of(far, TWO_SIDED, 100, 0.95).power == pytest.approx(1)
    assert limits_of(half, TWO_SIDED, 100, 0.95).power == 0.5
    near = limits_of(figure([1.36] * 8), TWO_SIDED, 100, 0.95)
    assert near.power < 0.8  # all are outside, by the luck of the draw


def test_stricter_level_has_less_power():
    powers = [limits_of(figure([1.55] * 8), TWO_SIDED, 100, level).power for level in (0.95, 0.99)]
    assert powers[0] > 0.9 > powers[1]


def test_share_that_so_few_samples_cannot_tell_from_none_is_no_failure():
    nearly_none = np.log(np.full(8, 0.5 / 1000) * np.linspace(0.999, 1.001, 8))
    _, high = interval_of(nearly_none, SHARE, 1000, 0.95)
    assert math.exp(high) == pytest.approx(0.0042, rel=0.01)
    assert SHARE.show(math.log(0.0123)) == "1.230%"


def test_thresholds_are_said_in_the_unit_of_the_line():
    rows = HELD["V4 rows"]
    limits = limits_of(figure([9.0] * 8, np.linspace(-3, -2, 8)), rows, 100, 0.95)
    assert allowed(limits, rows).startswith("above ")
    assert allowed(limits, rows).endswith("%")
    assert allowed(limits_of(figure([9.0]), TWO_SIDED, 100, 0.95), TWO_SIDED) == (
        "outside [0.6716, 1.328]"
    )


@pytest.mark.parametrize(("claim", "lines"), [("class", 7), ("rows", 6), ("concept", 2)])
def test_lines_of_a_claim_share_five_percent(claim, lines):
    assert level_of(claim, 1) == pytest.approx(1 - 0.05 / lines)
    assert level_of(claim, 0) == pytest.approx(0.95)


def test_retrained_models_fail_at_the_stated_rate():
    rng, level = np.random.default_rng(0), 0.9
    failed = [
        not low <= one <= high
        for one, *others in rng.normal(size=(1000, 9))
        for low, high in [interval_of(np.array(others), TWO_SIDED, 100, level)]
    ]
    assert np.mean(failed) == pytest.approx(1 - level, abs=0.03)
