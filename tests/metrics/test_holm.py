"""Holm's correction for the number of tests."""

import numpy as np
import pytest

from gsu_jax.metrics import holm


def test_smallest_p_is_multiplied_by_the_number_of_tests_and_the_next_by_one_less():
    assert holm([0.04, 0.001, 0.02]) == pytest.approx([0.04, 0.003, 0.04])


def test_corrected_values_keep_the_order_and_stay_at_most_one():
    p = np.random.default_rng(0).random(50)
    corrected = holm(p)
    assert (np.diff(corrected[p.argsort()]) >= 0).all()
    assert (corrected >= p).all()
    assert corrected.max() <= 1


def test_true_hypotheses_are_seldom_rejected():
    rng = np.random.default_rng(1)
    wrong = [holm(rng.random(20)).min() < 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(wrong) < 0.07


def test_one_test_needs_no_correction_and_none_gives_none():
    assert holm([0.3]) == [0.3]
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("wrong", [[1.1], [-0.1], [float("nan")], 0.5])
def test_what_is_no_vector_of_probabilities_is_refused(wrong):
    with pytest.raises(ValueError, match="p_values"):
        holm(wrong)
