"""A set shows what no single image does, and retained images are judged in the same way."""

import numpy as np
import pytest
from gaussian_scores import draw

from gsu_jax.audit import attack_rates, auc_change, lira, set_attack
from gsu_jax.metrics import image_residuals

IN_SET = np.arange(400) < 200


def ensemble(models: int, seed: int) -> np.ndarray:
    """Models that differ by a common shift too."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(models, 400)) + 2 * rng.normal(size=(models, 1))


def test_set_shows_a_gain_that_single_images_do_not():
    retrained = ensemble(16, 0)
    known = ensemble(1, 1)[0] + 0.6 * IN_SET
    assert image_residuals(known, retrained).outside < 0.35
    assert set_attack(known, retrained, IN_SET).p < 0.001


def test_p_of_a_retrained_model_is_uniform():
    p = set_attack(ensemble(400, 1), ensemble(8, 0), IN_SET).p
    many = [
        set_attack(ensemble(1, 100 + seed), ensemble(8, seed), IN_SET).p[0] for seed in range(60)
    ]
    assert p.shape == (400,)
    assert 0 <= np.mean(np.array(many) < 0.1) <= 0.25
    assert 0.35 < np.mean(many) < 0.65


def test_forgetting_too_much_is_negative():
    found = set_attack(ensemble(1, 1)[0] - IN_SET, ensemble(8, 0), IN_SET)
    assert found.statistic < 0
    assert found.z < -3


def test_each_retrained_model_is_held_against_the_others():
    retrained = ensemble(8, 0)
    reference = set_attack(ensemble(1, 1)[0], retrained, IN_SET).reference
    for i, one in enumerate(retrained):
        others = np.delete(retrained, i, axis=0)
        assert set_attack(one, others, IN_SET).statistic == pytest.approx(reference[i])


def test_retrained_model_is_outside_as_rarely_as_the_level_says():
    retrained = [ensemble(8, seed) for seed in range(300)]
    new = [ensemble(1, 1000 + seed)[0] for seed in range(300)]
    p = np.array([set_attack(one, all, IN_SET).p for one, all in zip(new, retrained, strict=True)])
    assert (p < 0.05).mean() <= 0.075  # two standard errors


def test_retained_rows_are_attacked_by_the_same_functions():
    scores = draw(0.5, models=64, images=1000)
    exposed = scores.target + 1.5 * scores.is_member
    before, after = (
        lira(target, scores.shadows, scores.members) for target in (scores.target, exposed)
    )
    inside = scores.is_member
    change = auc_change((before[inside], before[~inside]), (after[inside], after[~inside]))
    assert change.low > 0.02
    aucs = [attack_rates(x[inside], x[~inside]).auc.value for x in (before, after)]
    assert change.value == pytest.approx(aucs[1] - aucs[0])


def test_interval_of_a_change_covers_zero_where_nothing_changed():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        images = rng.normal(size=100)
        before, after = images + 0.5 * rng.normal(size=(2, 100))
        change = auc_change((before[:50], before[50:]), (after[:50], after[50:]))
        covered.append(change.low <= 0 <= change.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.04)


def test_wrong_arguments_are_named():
    retrained = ensemble(4, 0)
    with pytest.raises(ValueError, match=r"retrained must be \[m, images\] with m >= 3"):
        set_attack(retrained[0], retrained[:2], IN_SET)
    with pytest.raises(ValueError, match=r"in_set \[images\] of booleans"):
        set_attack(retrained[0], retrained, IN_SET.astype(int))
    with pytest.raises(ValueError, match="in_set must be true for some images"):
        set_attack(retrained[0], retrained, np.ones(400, bool))
    with pytest.raises(ValueError, match="before and after must be of the same images"):
        auc_change((np.zeros(3), np.zeros(3)), (np.zeros(3), np.zeros(4)))
    with pytest.raises(ValueError, match="others of after must be one or more finite scores"):
        auc_change((np.zeros(3), np.zeros(3)), (np.zeros(3), np.full(3, np.nan)))
