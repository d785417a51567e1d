"""Probes, copies, weight differences and the relative test find what is there, and only that."""

import numpy as np
import pytest
from scipy.special import ndtr

from gsu_jax.audit import chance_above, nearest_copies, relative_test, ridge_probe, weight_leak

RNG = np.random.default_rng


def features(shift: float, seed: int, n: int = 400) -> np.ndarray:
    """Correlated features of unequal scale; the classes differ along the first by `shift`."""
    values = RNG(seed).normal(size=(n, 4))
    values[:, 0] += shift
    values[:, 1] += values[:, 0]
    return values * [1, 100, 0.01, 1] + 7


def test_probe_reaches_the_auc_of_the_best_linear_function():
    groups = [features(shift, seed) for seed, shift in enumerate((1.5, 0.0, 1.5, 0.0))]
    found = ridge_probe((groups[0], groups[1]), (groups[2], groups[3])).auc
    assert found.low < ndtr(1.5 / np.sqrt(2)) < found.high


def test_probe_of_equal_groups_finds_nothing_on_other_images():
    groups = [features(0.0, seed, n=100) for seed in range(4)]
    found = ridge_probe((groups[0], groups[1]), (groups[2], groups[3])).auc
    assert found.low < 0.5 < found.high


def test_probe_takes_a_feature_that_never_varies():
    groups = [np.pad(features(2.0 * (seed % 2), seed), ((0, 0), (0, 1))) for seed in range(4)]
    assert ridge_probe((groups[1], groups[0]), (groups[3], groups[2])).auc.low > 0.85


def test_copies_are_found_with_the_sample_that_copies():
    forgotten, held_out = RNG(0).uniform(size=(2, 100, 4, 4, 1))
    samples = RNG(1).uniform(size=(2500, 4, 4, 1))
    samples[1234] = forgotten[7]
    found = nearest_copies(samples, forgotten, held_out, quantile=0.0)
    assert found.nearest[7] == 1234
    assert found.forgotten[7] == pytest.approx(0, abs=1e-6)
    assert found.difference < 0
    exact = np.linalg.norm((samples[:, None] - held_out[None, :3]).reshape(2500, 3, -1), axis=-1)
    np.testing.assert_allclose(found.held_out[:3], exact.min(axis=0))


def test_a_few_copied_images_among_many_are_significant_at_their_quantile():
    forgotten, held_out = RNG(0).uniform(size=(2, 100, 16))
    samples = np.concatenate([RNG(1).uniform(size=(500, 16)), forgotten[:10]])
    assert nearest_copies(samples, forgotten, held_out, quantile=0.05).p < 0.01


def test_without_copies_p_is_not_small():
    forgotten, held_out = RNG(0).uniform(size=(2, 100, 16))
    assert nearest_copies(RNG(1).uniform(size=(500, 16)), forgotten, held_out).p > 0.05


def trees(image: np.ndarray, place: str) -> tuple[dict, dict]:
    """Parameters before and after a step on one image, with small noise elsewhere."""
    rng = RNG(5)
    before = {
        "encoder": rng.normal(size=(30, 8)),
        "decoder": rng.normal(size=(8, 30)),
        "bias": rng.normal(size=30),
    }
    delta = rng.normal(size=8)
    step = {
        "encoder": np.outer(image, delta), "decoder": np.outer(delta, image), "bias": image
    }[place]  # fmt: skip
    after = {name: leaf + 1e-3 * rng.normal(size=leaf.shape) for name, leaf in before.items()}
    return before, after | {place: after[place] + step}


@pytest.mark.parametrize("place", ["encoder", "decoder", "bias"])
def test_change_of_the_weights_shows_the_image(place):
    images, held_out = RNG(0).uniform(size=(3, 5, 6)), RNG(1).uniform(size=(300, 5, 6))
    found = weight_leak(*trees(images[1].ravel(), place), images, held_out)
    assert found.directions == 3
    assert found.forgotten.argmax() == 1
    assert found.forgotten[1] > 0.99 > 0.9 > found.held_out.max()
    assert found.shown == 1


def test_change_at_random_shows_no_image():
    images, held_out = RNG(0).uniform(size=(3, 5, 6)), RNG(1).uniform(size=(300, 5, 6))
    found = weight_leak(*trees(RNG(9).normal(size=30), "encoder"), images, held_out)
    assert found.shown == 0


@pytest.mark.parametrize(("n", "m"), [(128, 36), (20, 20), (5, 60)])
def test_images_that_nothing_tells_apart_exceed_all_held_out_ones_as_often_as_said(n, m):
    values = RNG(3).normal(size=(20_000, n + m))
    shown = (values[:, :n] > values[:, n:].max(axis=1, keepdims=True)).sum(axis=1)
    for k in (1, 2, 4):
        assert (shown >= k).mean() == pytest.approx(chance_above(k, n, m), abs=0.012)
    assert chance_above(0, n, m) == 1


def samples(mean: float, seed: int, models: int = 6) -> np.ndarray:
    """Features of models whose means differ between seeds."""
    rng = RNG(seed)
    return mean + rng.normal(size=(models, 80, 3)) + 0.1 * rng.normal(size=(models, 1, 1))


def test_relative_test_tells_the_nearer_reference():
    retrained, original = samples(1.0, 0), samples(0.0, 1)
    assert relative_test(samples(0.9, 2), retrained, original).p < 0.01
    assert relative_test(samples(0.1, 2), retrained, original).p > 0.99
    half_way = relative_test(samples(0.5, 2), retrained, original)
    assert half_way.low < 0 < half_way.high


def test_relative_test_is_antisymmetric_and_takes_one_original():
    one, other, third = samples(1.0, 0), samples(0.0, 1), samples(0.3, 2)
    there, back = relative_test(third, one, other), relative_test(third, other, one)
    assert there.difference == pytest.approx(-back.difference)
    assert relative_test(one, samples(1.0, 5), other[:1]).p < 0.01


def test_wrong_arguments_are_named():
    x = RNG(0).normal(size=(4, 3))
    with pytest.raises(ValueError, match="train and test must be two groups of features"):
        ridge_probe((x, x), (x, x[:, :2]))
    with pytest.raises(ValueError, match="samples, forgotten and held_out must be of one size"):
        nearest_copies(x, x, x[:, :2])
    with pytest.raises(ValueError, match="held_out must be one or more finite images"):
        nearest_copies(x, x, x[:0])
    with pytest.raises(ValueError, match="before and after must be parameters of one model"):
        weight_leak({"a": x}, {"b": x}, x, x)
    with pytest.raises(ValueError, match="before has no leaf with an axis of 3 values"):
        weight_leak({"a": np.zeros((5, 5))}, {"a": np.zeros((5, 5))}, x, x)
    with pytest.raises(ValueError, match=r"retrained must be \[models, n, d\] with 2 or more"):
        relative_test(samples(0.0, 0), samples(0.0, 0)[:1], samples(0.0, 0))
    with pytest.raises(ValueError, match="bandwidth must be above 0"):
        relative_test(samples(0.0, 0), samples(0.0, 0), samples(0.0, 0), bandwidth=0.0)
