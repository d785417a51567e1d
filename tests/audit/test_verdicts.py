"""A verdict needs power, and the worst line decides."""

import itertools

import numpy as np
import pytest

from gsu_jax.audit import (
    Verdict,
    equivalence_line,
    judge,
    not_run,
    position_line,
    shared_level,
    worst,
)

SEEDS = "base seeds"
V = Verdict


def normal(seed: int, n: int, mean: float = 0.0) -> np.ndarray:
    """Figures of models with deviation 1 and exactly this mean."""
    values = np.random.default_rng(seed).normal(size=n)
    return mean + (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize(
    ("passed", "found", "power", "verdict"),
    [
        (True, False, 0.8, V.PASSED),
        (True, False, 0.79, V.NOT_DETECTABLE),
        (False, False, 0.79, V.NOT_DETECTABLE),
        (False, False, 0.8, V.FAILED),
        (False, True, 0.1, V.FAILED),
    ],
)
def test_verdict_follows_from_test_and_power(passed, found, power, verdict):
    line = judge("a", 1.5, passed=passed, found=found, n=4, power=power, random=SEEDS)
    assert line == ("a", 1.5, 4, power, SEEDS, verdict)


def test_worst_line_decides_in_every_order():
    lines = [
        judge("failed", 0.0, passed=False, found=True, n=1, power=0.5, random=""),
        not_run("not run"),
        judge("not detectable", 0.0, passed=True, found=False, n=1, power=0.5, random=""),
        judge("passed", 0.0, passed=True, found=False, n=1, power=0.9, random=""),
    ]
    for first in range(4):
        for order in itertools.permutations(lines[first:]):
            assert worst(order).name == lines[first].name


def test_first_of_equally_bad_lines_decides():
    assert worst([not_run("a"), not_run("b")]).name == "a"


def test_no_lines_are_no_audit():
    with pytest.raises(ValueError, match="lines is empty"):
        worst([])


@pytest.mark.parametrize(
    ("models", "shift", "verdict"),
    [(30, 0.0, V.PASSED), (5, 0.0, V.NOT_DETECTABLE), (30, 3.0, V.FAILED), (5, 6.0, V.FAILED)],
)
def test_equivalence_is_shown_refuted_or_left_open(models, shift, verdict):
    line = equivalence_line(
        "phi", normal(0, models, shift), normal(1, models), margin=1.0, random=SEEDS
    )
    assert line.verdict == verdict
    assert line.statistic == pytest.approx(shift)


@pytest.mark.long
def test_equality_that_does_not_show_is_no_failure_if_no_difference_shows_either():
    rng, lines = np.random.default_rng(0), []
    for _ in range(400):
        one, other = rng.normal(size=(2, 10))
        lines.append(equivalence_line("phi", one, other, margin=1.5, random=SEEDS))
    verdicts = [line.verdict for line in lines]
    assert verdicts.count(V.PASSED) / 400 == pytest.approx(lines[0].power, abs=0.05)
    assert verdicts.count(V.FAILED) <= 0.075 * 400  # nominal 0.05
    assert verdicts.count(V.NOT_DETECTABLE) > 0


def test_lines_that_share_a_level_fail_together_no_more_often_than_one():
    rng, failed = np.random.default_rng(0), 0
    level = shared_level(4)
    for _ in range(400):
        one, *rest = rng.normal(size=(9, 4))
        lines = [
            position_line("a", a, others, effect=9.0, random=SEEDS, level=level)
            for a, others in zip(one, np.transpose(rest), strict=True)
        ]
        failed += worst(lines).verdict == V.FAILED
    assert level == pytest.approx(0.9875)
    assert failed / 400 == pytest.approx(0.05, abs=0.025)
    narrow = position_line("a", 3.0, normal(0, 8), effect=4.0, random=SEEDS)
    wide = position_line("a", 3.0, normal(0, 8), effect=4.0, random=SEEDS, level=level)
    assert (narrow.verdict, wide.verdict) == (V.FAILED, V.NOT_DETECTABLE)
    assert wide.power < 0.8 < narrow.power


def test_test_that_need_not_show_is_open_where_it_shows_neither():
    line = judge("a", 0.0, passed=False, found=False, n=4, power=0.9, random=SEEDS, must_show=False)
    assert line.verdict == V.NOT_DETECTABLE


def test_difference_between_margin_and_evidence_fails_at_full_power():
    line = equivalence_line("phi", normal(0, 30, 0.9), normal(1, 30), margin=1.0, random=SEEDS)
    assert line.verdict == V.FAILED
    assert line.power > 0.9


@pytest.mark.parametrize(
    ("value", "effect", "verdict"),
    [(0.5, 5.0, V.PASSED), (0.5, 1.0, V.NOT_DETECTABLE), (4.0, 1.0, V.FAILED)],
)
def test_position_is_judged_with_the_stated_effect(value, effect, verdict):
    line = position_line("phi", value, normal(0, 10), effect=effect, random=SEEDS)
    assert line.verdict == verdict
    assert line.n == 10


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"power must be in \[0, 1\], got 1.5"):
        judge("a", 0.0, passed=True, found=False, n=1, power=1.5, random="")
    with pytest.raises(ValueError, match="a: a test cannot both pass and find"):
        judge("a", 0.0, passed=True, found=True, n=1, power=0.5, random="")
    with pytest.raises(ValueError, match="effect must be above 0"):
        position_line("a", 0.0, normal(0, 5), effect=0.0, random="")
    with pytest.raises(ValueError, match="retrained must be two or more models that differ"):
        equivalence_line("a", normal(0, 5), np.ones(5), margin=1.0, random="")
