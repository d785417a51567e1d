"""Runs on eight simulated devices are runs on one; with SGD, since Adam hides a wrong scale."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import count_compilations
from helpers import assert_trees_close, vector
from linear_autoencoder import MODEL, images

from gsu_jax import GradientAscent, unlearn
from gsu_jax.runtime import make_mesh

SGD = optax.sgd(0.1)
FORGET, RETAIN = images(3, 20, offset=0.5), images(4, 30)


def run(mesh, method="gradient_surgery", dtype=np.float32, **settings):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), MODEL.init(jax.random.key(0)))
    settings = {"batch_size": 16, "retain_batch_size": 8, "epochs": 2} | settings
    return unlearn(
        MODEL, params, FORGET.astype(dtype), RETAIN.astype(dtype), method=method,
        key=jax.random.key(1), optimizer=SGD, mesh=mesh and make_mesh(mesh), **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    with jax.enable_x64(True):
        return run(None, dtype=np.float64)


@pytest.mark.parametrize("mesh", [pytest.param("data=8", marks=pytest.mark.slow), "data=4,model=2"])
def test_run_in_double_precision_is_that_of_one_device(alone, mesh):
    with jax.enable_x64(True):
        shared = run(mesh, dtype=np.float64)
    assert shared.steps == alone.steps == 4
    assert {leaf.dtype for leaf in jax.tree.leaves(shared.params)} == {jnp.dtype("float64")}
    assert all(len(leaf.devices()) == 8 for leaf in jax.tree.leaves(shared.params))
    assert_trees_close(shared.params, alone.params, rtol=1e-9, atol=1e-9)
    assert_trees_close(shared.history, alone.history, rtol=1e-9, atol=1e-9)


def test_second_run_on_eight_devices_compiles_nothing():
    first = run("data=8", "fine_tune")
    with count_compilations() as compiled:
        assert run("data=8", "fine_tune").compile_seconds == 0
    assert compiled == []
    assert_trees_close(first.params, run(None, "fine_tune").params, rtol=1e-5, atol=1e-5)


class FiveAStep(GradientAscent):
    """Takes fewer images a step than its batch size, as methods do of small sets."""

    def default_batch_size(self, images, epochs):
        return 5


def test_batch_of_five_is_padded_to_eight_devices():
    alone, shared = (run(mesh, FiveAStep(), batch_size=None, epochs=1) for mesh in (None, "data=8"))
    assert alone.steps == shared.steps == 4
    start = vector(MODEL.init(jax.random.key(0)))
    assert np.abs(vector(alone.params) - start).max() > 0.01
    assert_trees_close(shared.params, alone.params, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "settings", "got"),
    [
        ("before", {"batch_size": 12}, 12),
        (GradientAscent(batch_size=12), {"batch_size": None}, 12),
        ("gradient_ascent", {"batch_size": 8, "retain_batch_size": 4}, 4),
    ],
)
def test_batch_that_does_not_divide_over_the_devices_is_refused(method, settings, got):
    with pytest.raises(ValueError, match=rf"batch.* 8 devices .*got {got}"):
        run("data=8", method, **settings)
