"""Relearning is compared on the log scale, with what never relearns counted."""

import numpy as np
import pytest

from gsu_jax.audit import relearning_cost, relearning_steps


def curves(rate: float, models: int, seed: int, steps: int = 200) -> np.ndarray:
    """Losses that fall as exp(-rate t), with rates that differ by about 10 %."""
    rates = rate * np.exp(0.1 * np.random.default_rng(seed).normal(size=(models, 1)))
    return np.exp(-rates * np.arange(steps + 1))


def test_ratio_of_exponential_curves_is_that_of_their_rates():
    found = relearning_cost(curves(0.2, 10, 0), curves(0.1, 10, 1), level=0.05)
    assert found.low < -np.log(2) < found.high
    assert found.p > 0.9
    assert found.unreached == (0, 0)


def test_equal_rates_are_shown_equal():
    found = relearning_cost(curves(0.1, 10, 0), curves(0.1, 10, 1), level=0.05)
    assert found.p < 0.001
    assert found.power > 0.99


def test_curve_that_never_gets_there_shows_no_equality():
    never = curves(0.1, 10, 0)
    never[0] = 1.0
    found = relearning_cost(never, curves(0.1, 10, 1), level=0.05)
    assert found.unreached == (1, 0)
    assert found.p == 1
    assert np.isfinite(found.log_ratio)


def test_each_curve_may_have_a_level():
    losses = np.array([[4.0, 2.0, 0.0], [8.0, 4.0, 0.0]])
    assert relearning_steps(losses, [3.0, 2.0]).tolist() == [0.5, 1.5]
    assert relearning_steps(losses[0], 1.0) == 1.5


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"losses must be \[..., steps \+ 1\]"):
        relearning_steps([1.0], 0.5)
    with pytest.raises(ValueError, match="losses or level is NaN"):
        relearning_steps([1.0, np.nan], 0.5)
    with pytest.raises(ValueError, match=r"retrained must be \[models, steps \+ 1\]"):
        relearning_cost(curves(0.1, 2, 0), curves(0.1, 1, 0), level=0.5)
    with pytest.raises(ValueError, match="margin must be above 0"):
        relearning_cost(curves(0.1, 2, 0), curves(0.1, 2, 0), level=0.5, margin=0)
