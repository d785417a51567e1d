"""GRU: against its formula in float64."""

import jax
import numpy as np
import pytest
from helpers import assert_finite, random_tree, vector

from gsu_jax.surgery.rules import gru


@pytest.fixture(autouse=True)
def promotion(strict_promotion):
    """Optax's own bias correction promotes its count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def without(u, r):
    return u if u @ r >= 0 else u - (u @ r) / (r @ r) * r


def test_updates_are_projected_off_the_running_mean_of_the_retain_gradients():
    transform = gru(decay=0.75)
    us, rs = [random_tree(i) for i in range(6)], [random_tree(10 + i) for i in range(6)]
    state, mean, update = transform.init(us[0]), 0.0, jax.jit(transform.update)
    projected = []
    for count, (u, r) in enumerate(zip(us, rs, strict=True), 1):
        updates, state = update(u, state, retain_grads=r)
        mean = 0.75 * mean + 0.25 * vector(r)
        corrected = mean / (1 - 0.75**count)
        np.testing.assert_allclose(vector(updates), without(vector(u), mean), atol=1e-5)
        np.testing.assert_allclose(state.conflict.retain_norm, np.linalg.norm(corrected), rtol=1e-5)
        assert state.count == count
        projected.append(bool(state.conflict.projected))
    assert len(set(projected)) == 2


def test_without_memory_it_is_the_conflict_rule():
    transform = gru(0.0)
    for seed in range(4):
        u, r = random_tree(seed), random_tree(10 + seed)
        updates, _ = jax.jit(transform.update)(u, transform.init(u), retain_grads=r)
        np.testing.assert_allclose(vector(updates), without(vector(u), vector(r)), atol=1e-5)


def test_mean_of_low_precision_gradients_is_float32():
    u = random_tree(0, dtype="bfloat16")
    state = gru().init(u)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.mean)} == {np.dtype("float32")}
    assert_finite(state)


def test_default_decay_follows_a_tenth():
    u, r = random_tree(0), random_tree(1)
    _, state = gru().update(u, gru().init(u), retain_grads=r)
    np.testing.assert_allclose(vector(state.mean), 0.1 * vector(r), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"decay .*got {decay}"):
        gru(decay)
