"""What an accelerator computes, against the CPU; skipped where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_tree, rows, vector

from gsu_jax import project, project_subspace, unlearn
from gsu_jax.methods.ingredients import find_neighbors, fit_transport
from gsu_jax.models import MLPVAEConfig, Posteriors
from gsu_jax.networks import mlp_vae

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def on_both():
    """Runs a function on the accelerator and on the CPU, and returns both results as NumPy."""
    accelerators = [device for device in jax.devices() if device.platform != "cpu"]
    if not accelerators:
        pytest.skip("no accelerator: JAX finds CPUs alone")

    def run(function):
        def on(device):
            with jax.default_device(device):
                return jax.device_get(function())

        return on(accelerators[0]), on(jax.devices("cpu")[0])

    return run


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_projection_is_orthogonal_and_that_of_the_cpu(on_both, scale):
    def projected():
        return jax.jit(project)(random_tree(0, scale), random_tree(1))

    found, expected = map(vector, on_both(projected))
    update, retain = vector(random_tree(0, scale)), vector(random_tree(1))
    assert abs(found @ retain) <= 2e-6 * np.linalg.norm(update) * np.linalg.norm(retain)
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.linalg.norm(update))


@pytest.mark.parametrize("k", [4, 32])
def test_span_is_removed_as_on_the_cpu(on_both, k):
    def projected():
        return jax.jit(project_subspace)(random_tree(0), random_tree(1, k=k))

    found, expected = map(vector, on_both(projected))
    retain, size = rows(random_tree(1, k=k)), np.linalg.norm(vector(random_tree(0)))
    lengths = np.linalg.norm(retain, axis=1)
    assert (np.abs(retain @ found) <= 4e-6 * size * lengths).all()
    np.testing.assert_allclose(found, expected, atol=1e-5 * size)


def test_transport_is_that_of_the_cpu(on_both):
    """TF32, with 10 bits of mantissa, would miss this tolerance."""

    def matrix():
        mixing = jax.random.normal(jax.random.key(2), (8, 8))
        forget, retain = (
            Posteriors(jax.random.normal(jax.random.key(i), (200, 8)) @ m, jnp.full((200, 8), -2.0))
            for i, m in ((0, jnp.eye(8)), (1, mixing))
        )
        return fit_transport(forget, retain, find_neighbors(forget, retain, ratio=0.1)).matrix

    with jax.default_matmul_precision("highest"):  # of the data; the map sets its own
        found, expected = on_both(jax.jit(matrix))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("method", ["gradient_surgery", "redirect_surgery"])
def test_a_short_run_follows_that_of_the_cpu(on_both, method):
    model = mlp_vae(MLPVAEConfig((8, 8, 1), widths=(32,), latent_size=4))
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), np.uint8)

    def losses():
        result = unlearn(
            model, model.init(jax.random.key(0)), images[:50], images[50:],
            method=method, key=jax.random.key(1), batch_size=10,
        )  # fmt: skip
        return result.history["retain_loss"]

    with jax.default_matmul_precision("highest"):
        found, expected = on_both(losses)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
