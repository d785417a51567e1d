"""The share of samples corrected for a judge's errors, against its formula and by simulation."""

import numpy as np
import pytest

from gsu_jax.metrics import Count, JudgeErrors, corrected_share

ERRORS = JudgeErrors(hits=Count(950, 1000), false_alarms=Count(90, 9000))


def test_share_is_the_formula_of_rogan_and_gladen():
    found = corrected_share((500, 10_000), ERRORS)
    assert found.share == pytest.approx((0.05 - 0.01) / (0.95 - 0.01))
    assert found.low < found.share < found.high


@pytest.mark.parametrize(("count", "share"), [(0, 0.0), (50, 0.0), (9_900, 1.0)])
def test_share_is_cut_to_what_a_share_can_be(count, share):
    found = corrected_share((count, 10_000), ERRORS)
    assert found.share == share
    assert 0 <= found.low <= found.share <= found.high <= 1


def test_a_judge_without_errors_changes_nothing():
    many = 10**7
    found = corrected_share((500, 10_000), ((many, many), (0, many)))
    assert found.share == pytest.approx(0.05)
    # Clopper and Pearson's interval of 500 in 10,000.
    assert (found.low, found.high) == pytest.approx((0.0458, 0.0545), abs=2e-4)


def test_fewer_test_images_give_a_wider_interval():
    def width(images):
        errors = ((0.9 * images, images), (0.01 * images, images))
        _, low, high = corrected_share((500, 10_000), errors)
        return high - low

    assert width(100) > 2 * width(1000) > 2 * width(100_000)


def test_interval_is_the_same_at_every_call():
    assert corrected_share((80, 1000), ERRORS) == corrected_share((80, 1000), ERRORS)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.1])
@pytest.mark.parametrize("tests", [(36, 323), (1000, 9000)])
def test_interval_holds_its_level_also_at_zero(share, tests):
    rng = np.random.default_rng(1)
    tpr, fpr, n, repeats = 0.95, 0.006, 10_000, 200
    inside = 0
    for _ in range(repeats):
        found = rng.binomial(n, share * tpr + (1 - share) * fpr)
        hits, alarms = rng.binomial(tests[0], tpr), rng.binomial(tests[1], fpr)
        _, low, high = corrected_share((found, n), ((hits, tests[0]), (alarms, tests[1])))
        inside += low <= share <= high
    assert inside >= 0.93 * repeats


@pytest.mark.parametrize(
    ("found", "errors", "message"),
    [
        ((11, 10), ERRORS, r"found .*\(11, 10\)"),
        ((-1, 10), ERRORS, r"found .*\(-1, 10\)"),
        ((0, 0), ERRORS, "n of found.*0"),
        ((1, 10), ((3, 2), (0, 5)), r"hits .*\(3, 2\)"),
        ((1, 10), ((1, 10), (1, 10)), "errors.*0.1.*0.1"),
    ],
)
def test_impossible_counts_are_refused(found, errors, message):
    with pytest.raises(ValueError, match=message):
        corrected_share(found, errors)


def test_level_must_be_a_probability():
    with pytest.raises(ValueError, match=r"level.*95"):
        corrected_share((1, 10), ERRORS, level=95)
