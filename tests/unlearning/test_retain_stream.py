"""The retain side as an iterator of batches."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_equal
from linear_autoencoder import MODEL, images

from gsu_jax import GenerativeModel, unlearn
from gsu_jax.unlearning._retain_stream import CHUNK

KEY = jax.random.key(1)
FORGET = images(1, 20, offset=0.5)


def run(retain, method="gradient_surgery", model=MODEL, **settings):
    arguments = {"method": method, "key": KEY, "batch_size": 1} | settings
    return unlearn(model, MODEL.init(jax.random.key(0)), FORGET, retain, **arguments)


def batches(n, size=3):
    return (images(seed, size) for seed in range(n))


def test_the_gradient_of_step_i_is_that_of_batch_i():
    """Two chunks in each of two epochs; the loss shows which batch it was given."""
    assert len(FORGET) > CHUNK

    def loss(params, batch, key):
        return (params * batch[:, 0, 0, 0]).sum() + 100 * batch[:, 0, 0, 0].mean()

    model = GenerativeModel(lambda key: jnp.zeros(()), loss, None)
    numbers = [np.full((2, 2, 2, 1), i / 64, np.float32) for i in range(40)]
    zeros = np.zeros((20, 2, 2, 1), np.float32)
    with pytest.warns(UserWarning, match="20 of the 20"):
        result = unlearn(
            model, jnp.zeros(()), zeros, iter(numbers), method="gradient_surgery", key=KEY,
            batch_size=1, epochs=2,
        )  # fmt: skip
    np.testing.assert_allclose(result.history["retain_loss"], 100 * np.arange(40) / 64, atol=1e-4)


def test_one_run_equals_another_with_the_same_batches():
    first, second = (run(batches(20)) for _ in range(2))
    assert_trees_equal(first.params, second.params)
    other = run(batches(40, 3), epochs=2)
    assert other.steps == 40


def test_an_endless_iterator_is_pulled_as_far_as_needed():
    pulled = itertools.count()
    endless = (images(next(pulled), 1024) for _ in itertools.count())
    run(endless)
    assert next(pulled) == 20


def test_an_iterator_that_refills_one_buffer_gives_different_batches():
    def refilled():
        buffer = np.empty((3, 2, 2, 1), np.float32)
        for seed in range(20):
            buffer[:] = images(seed, 3)
            yield buffer

    assert_trees_equal(run(refilled()).params, run(batches(20)).params)


class Loader:
    def __len__(self):
        return 20

    def __getitem__(self, i):
        raise AssertionError("the whole set was read")


def test_a_loader_is_not_read_as_an_array():
    with pytest.raises(TypeError, match=r"retain.*Loader.*iter\(retain\)"):
        run(Loader())


def test_a_function_that_makes_batches_is_to_be_called():
    with pytest.raises(TypeError, match=r"retain.*function.*the iterator that it returns"):
        run(lambda: batches(4))


def test_methods_that_prepare_see_the_first_batches():
    result = run(batches(4, 64), "synaptic_dampening")
    assert result.steps == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


@pytest.mark.parametrize(
    ("retain", "changes", "message"),
    [
        (iter([]), {}, "retain is an empty iterator"),
        (batches(3), {}, "retain ended after 3 batches.*repeat"),
        (iter([images(0, 3), images(1, 2)]), {}, r"retain.*one shape.*batch 1"),
        (iter([images(0, 3) + 9]), {}, r"retain, batch 0.*\[0, 1\]"),
        (batches(20), {"retain_batch_size": 2}, "retain_batch_size.*got 2"),
        (batches(20), {"method": "fine_tune"}, "retain.*fine_tune"),
    ],
)
def test_bad_iterator_is_named(retain, changes, message):
    with pytest.raises(ValueError, match=message):
        run(retain, **changes)


def test_a_mesh_needs_arrays():
    mesh = jax.make_mesh((1,), ("data",))
    with pytest.raises(ValueError, match=r"retain.*mesh"):
        run(batches(20), mesh=mesh)


def test_a_pipeline_of_grain_is_an_iterator_of_batches():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    pipeline = grain.MapDataset.source(images(2, 9)).shuffle(seed=0).repeat().batch(3)
    result = run(iter(pipeline))
    assert result.steps == 20
    assert np.isfinite(result.history["retain_loss"]).all()
