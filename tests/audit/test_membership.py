"""Membership attacks find a known gain, nothing where there is none, and bad input."""

import numpy as np
import pytest
from gaussian_scores import Scores, draw
from scipy.special import ndtr

from gsu_jax.audit import attack_rates, bavaria, lira, rmia

ATTACKS = {
    "lira": lira,
    "lira, own variances": lambda *a, **k: lira(*a, variance="image", **k),
    "bavaria": bavaria,
}
KINDS = ("online", "offline")


def run(name: str, scores: Scores, kind: str) -> np.ndarray:
    if name == "rmia":
        outside = draw(0.0, models=len(scores.shadows), seed=99)
        return rmia(
            scores.target, scores.shadows, scores.members, outside.target, outside.shadows,
            kind=kind,
        )  # fmt: skip
    return ATTACKS[name](scores.target, scores.shadows, scores.members, kind=kind)


def auc(name: str, scores: Scores, kind: str):
    found = run(name, scores, kind)
    return attack_rates(found[scores.is_member], found[~scores.is_member]).auc


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ATTACKS)
def test_auc_of_normal_scores_is_the_known_one(name, kind):
    found = auc(name, draw(1.5, models=256), kind)
    assert found.low < ndtr(1.5 / np.sqrt(2)) < found.high


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*ATTACKS, "rmia"])
def test_without_a_gain_half_lies_in_the_interval(name, kind):
    found = auc(name, draw(0.0), kind)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("kind", KINDS)
def test_rmia_finds_a_gain_with_four_models(kind):
    assert auc("rmia", draw(3.0, models=4), kind).low > 0.75


def test_calibration_is_what_finds_members_of_unequal_ease():
    scores = draw(1.5)
    raw = attack_rates(scores.target[scores.is_member], scores.target[~scores.is_member]).auc
    assert raw.value < 0.65 < auc("lira", scores, "online").low


def test_bavaria_beats_lira_with_own_variances_at_four_models():
    scores = draw(1.5, models=4, images=4000)
    assert auc("bavaria", scores, "online").low > auc("lira, own variances", scores, "online").high


def test_bavaria_scores_an_image_that_is_in_no_shadow():
    scores = draw(1.5)
    members = scores.members.copy()
    members[:, 0] = False
    assert np.isfinite(bavaria(scores.target, scores.shadows, members)).all()


def test_offline_bavaria_ranks_members_far_beyond_the_shadows():
    scores = draw(0.0)
    target = np.stack([scores.target, scores.target + 30, scores.target + 60])
    found = bavaria(target, scores.shadows, scores.members, kind="offline")
    assert (np.diff(found, axis=0) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*ATTACKS, "rmia"])
def test_order_of_models_and_of_images_changes_nothing(name, kind):
    scores = draw(1.0, models=16, images=100)
    rng = np.random.default_rng(1)
    models, images = rng.permutation(16), rng.permutation(100)
    rows = np.ix_(models, images)
    moved = Scores(
        scores.target[images], scores.is_member[images], scores.shadows[rows], scores.members[rows]
    )
    if name == "rmia":  # the population's models keep their order: they have no members
        moved = moved._replace(shadows=scores.shadows[:, images], members=scores.members[:, images])
    expected = run(name, scores, kind)[images]
    np.testing.assert_allclose(run(name, moved, kind), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*ATTACKS, "rmia"])
def test_a_stack_of_models_is_attacked_like_each(name):
    one, other = draw(1.0), draw(2.0)
    if name == "rmia":
        population = np.stack([one.target, other.target])
        both = rmia(population, one.shadows, one.members, population, one.shadows)
        alone = rmia(other.target, one.shadows, one.members, other.target, one.shadows)
    else:
        stack = np.stack([one.target, other.target])
        both = ATTACKS[name](stack, one.shadows, one.members)
        alone = ATTACKS[name](other.target, one.shadows, one.members)
    np.testing.assert_allclose(both[1], alone)


BAD = {
    "target is too short": lambda s: (s.target[:-1], s.shadows, s.members),
    "members of other models": lambda s: (s.target, s.shadows, s.members[1:]),
    "shadows as a vector": lambda s: (s.target, s.shadows[0], s.members[0]),
    "target as a number": lambda s: (0.0, s.shadows, s.members),
}


@pytest.mark.parametrize("attack", [lira, bavaria])
@pytest.mark.parametrize("case", BAD)
def test_wrong_shapes_are_one_error(attack, case):
    with pytest.raises(ValueError, match=r"\[models, images\] and target \[..., images\], got"):
        attack(*BAD[case](draw(0.0)))


def test_wrong_values_are_named():
    scores = draw(0.0, models=8, images=5)
    with pytest.raises(ValueError, match="members must be an array of booleans, got int64"):
        lira(scores.target, scores.shadows, scores.members.astype(np.int64))
    with pytest.raises(ValueError, match="not finite"):
        bavaria(scores.target * np.nan, scores.shadows, scores.members)
    none = np.zeros_like(scores.members)
    with pytest.raises(ValueError, match="1 or more models with it, got 0 for image 0"):
        lira(scores.target, scores.shadows, none)
    with pytest.raises(ValueError, match="1 or more models with it, got 0 for image 0"):
        rmia(scores.target, scores.shadows, none, scores.target, scores.shadows)
    with pytest.raises(ValueError, match="shadows must vary"):
        bavaria(scores.target, np.zeros_like(scores.shadows), scores.members)
    with pytest.raises(ValueError, match='kind must be "online" or "offline"'):
        lira(scores.target, scores.shadows, scores.members, kind="both")
    with pytest.raises(ValueError, match="population_shadows"):
        rmia(scores.target, scores.shadows, scores.members, scores.target, scores.shadows[1:])
