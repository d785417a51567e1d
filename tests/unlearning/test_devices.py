"""Eight simulated devices; with SGD, since Adam hides a wrong scale, and losses without noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import count_compilations
from linear_autoencoder import MODEL, images

from gsu_jax import GenerativeModel, GradientAscent, unlearn

FORGET, RETAIN = images(1, 6, offset=0.5), images(2, 9)
PARAMS = MODEL.init(jax.random.key(0))
KEY = jax.random.key(1)


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)))


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((8,), ("devices",))


@pytest.mark.parametrize("method", ["gradient_surgery", "fine_tune"])
def test_eight_devices_give_what_one_gives(mesh, method):
    forget, retain = images(3, 20, offset=0.5), images(4, 30)
    alone, shared = (
        unlearn(
            MODEL, PARAMS, forget, retain, method=method, key=KEY, mesh=devices,
            optimizer=optax.sgd(0.1), batch_size=16, retain_batch_size=8, epochs=2,
        )
        for devices in (None, mesh)
    )  # fmt: skip
    assert difference(alone.params, PARAMS) > 0.01
    assert_close(shared.params, alone.params, rtol=1e-5, atol=1e-5)
    assert_close(shared.history, alone.history, rtol=1e-4, atol=1e-5)
    assert all(len(leaf.devices()) == 8 for leaf in jax.tree.leaves(shared.params))


def test_eight_devices_can_forget_three_images(mesh):
    forget, retain = images(3, 3, offset=0.5), images(4, 30)
    alone, shared = (
        unlearn(
            MODEL, PARAMS, forget, retain, method="gradient_ascent", key=KEY, mesh=devices,
            optimizer=optax.sgd(0.1),
        )
        for devices in (None, mesh)
    )  # fmt: skip
    assert alone.steps == shared.steps == 1
    assert_close(shared.params, alone.params, rtol=1e-5, atol=1e-5)


class FiveAStep(GradientAscent):
    """Takes fewer images a step than its batch size, as methods do of small sets."""

    def batch(self, images, epochs):
        return 5


def test_a_smaller_batch_of_the_methods_own_is_taken_as_it_is(mesh):
    forget, retain = images(3, 20, offset=0.5), images(4, 30)
    alone, shared = (
        unlearn(
            MODEL, PARAMS, forget, retain, method=FiveAStep(), key=KEY, mesh=devices,
            optimizer=optax.sgd(0.1), retain_batch_size=8,
        )
        for devices in (None, mesh)
    )  # fmt: skip
    assert alone.steps == shared.steps == 4
    assert difference(alone.params, PARAMS) > 0.01
    assert_close(shared.params, alone.params, rtol=1e-5, atol=1e-5)


def test_a_second_run_on_eight_devices_compiles_nothing(mesh):
    def run():
        return unlearn(
            MODEL, PARAMS, FORGET, RETAIN, method="gradient_ascent", key=KEY, mesh=mesh,
            batch_size=8, epochs=2,
        )  # fmt: skip

    run()
    with count_compilations() as compiled:
        assert run().compile_seconds == 0
    assert compiled == []


def test_a_convolution_gives_on_eight_devices_what_it_gives_on_one(mesh):
    def loss(kernel, images, key):
        drawn = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.square(drawn - images).mean()

    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 1, 1)), jnp.float32)
    alone, shared = (
        unlearn(
            GenerativeModel(None, loss, None), kernel, images(3, 20), RETAIN,
            method="gradient_ascent", key=KEY, mesh=devices, optimizer=optax.sgd(0.1),
            batch_size=8, epochs=2,
        )
        for devices in (None, mesh)
    )  # fmt: skip
    assert difference(alone.params, kernel) > 0.01
    np.testing.assert_allclose(shared.params, alone.params, rtol=1e-5, atol=1e-6)


def test_batches_that_do_not_divide_over_the_devices_are_refused(mesh):
    with pytest.raises(ValueError, match=r"batch of 12 images does not divide .* of 8 devices"):
        unlearn(MODEL, PARAMS, FORGET, RETAIN, method="before", key=KEY, mesh=mesh, batch_size=12)
    with pytest.raises(ValueError, match=r"batch of 12 images does not divide .* of 8 devices"):
        unlearn(
            MODEL, PARAMS, FORGET, RETAIN, method=GradientAscent(batch_size=12), key=KEY, mesh=mesh
        )
    with pytest.raises(ValueError, match=r"batch of 4 images does not divide .* of 8 devices"):
        unlearn(
            MODEL, PARAMS, FORGET, RETAIN, method="gradient_ascent", key=KEY, mesh=mesh,
            batch_size=8, retain_batch_size=4,
        )  # fmt: skip
