"""The two gradients: their signs, their keys, and their accumulation over microbatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_structure, assert_trees_close

from gsu_jax.surgery import forget_retain_grads


def loss(params, batch, key):
    del key
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def make_batch(n, seed):
    rng = np.random.default_rng(seed)
    return {"x": jnp.float32(rng.normal(size=(n, 3))), "y": jnp.float32(rng.normal(size=n))}


@pytest.fixture
def params():
    return {"w": jnp.float32([0.1, -0.2, 0.3]), "b": jnp.float32(0.5)}


@pytest.fixture
def batches():
    return make_batch(12, 1), make_batch(8, 2)


@pytest.fixture
def key():
    return jax.random.key(0)


def test_descending_the_forget_gradient_raises_the_loss_on_the_forget_batch(params, batches, key):
    grads = forget_retain_grads(loss, params, *batches, key)
    for gradient, batch, value, sign in (
        (grads.forget, batches[0], grads.forget_loss, +1),
        (grads.retain, batches[1], grads.retain_loss, -1),
    ):
        descended = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
        assert value == loss(params, batch, key)
        assert np.sign(loss(descended, batch, key) - value) == sign


def test_gradients_are_those_of_the_two_losses(params, batches, key):
    grads = forget_retain_grads(loss, params, *batches, key)
    minus = jax.tree.map(jnp.negative, grads.forget)
    assert_trees_close(minus, jax.grad(loss)(params, batches[0], key))
    assert_trees_close(grads.retain, jax.grad(loss)(params, batches[1], key))


def test_a_custom_forget_loss_is_descended(params, batches, key):
    def toward_zero(params, batch, key):
        del key
        return jnp.mean((batch["x"] @ params["w"]) ** 2)

    grads = forget_retain_grads(loss, params, *batches, key, forget_loss=toward_zero)
    assert_trees_close(grads.forget, jax.grad(toward_zero)(params, batches[0], key))
    assert_trees_close(grads.forget_loss, toward_zero(params, batches[0], key))
    assert_trees_close(grads.retain, jax.grad(loss)(params, batches[1], key))


def test_keys_are_split_as_documented(params, batches, key):
    def noise(params, batch, key):
        return params["b"] * jax.random.normal(key) + 0.0 * jnp.sum(batch["x"])

    forget_key, retain_key = jax.random.split(key)
    grads = forget_retain_grads(noise, params, *batches, key)
    assert grads.forget["b"] == -jax.random.normal(forget_key)
    assert grads.retain["b"] == jax.random.normal(retain_key)
    grads = forget_retain_grads(noise, params, *batches, key, microbatch_size=4)
    for gradient, side_key, n, sign in (
        (grads.forget["b"], forget_key, 3, -1),
        (grads.retain["b"], retain_key, 2, 1),
    ):
        draws = [jax.random.normal(jax.random.fold_in(side_key, i)) for i in range(n)]
        np.testing.assert_allclose(gradient, sign * np.mean(draws), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_microbatches_equal_the_whole_batch(size, params, batches, key):
    whole = forget_retain_grads(loss, params, *batches, key)
    parts = forget_retain_grads(loss, params, *batches, key, microbatch_size=size)
    assert_trees_close(parts, whole, rtol=1e-5, atol=1e-5)


def test_microbatches_take_every_nth_example(key):
    seen = []

    def record(params, batch, key):
        jax.debug.callback(lambda x: seen.append(x.tolist()), batch)
        return params * jnp.sum(batch)

    images = jnp.arange(6.0)
    forget_retain_grads(record, jnp.float32(1), images, images, key, microbatch_size=2)
    jax.effects_barrier()
    assert sorted(seen) == [[0, 3]] * 2 + [[1, 4]] * 2 + [[2, 5]] * 2


def test_microbatches_accumulate_low_precision_in_float32(params, key):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    n = 1024
    batch = {"x": jnp.ones((n, 3), jnp.bfloat16), "y": jnp.zeros(n, jnp.bfloat16)}
    parts = forget_retain_grads(loss, params, batch, batch, key, microbatch_size=1)
    whole = forget_retain_grads(loss, params, batch, batch, key)
    assert_same_structure(parts, whole)
    assert_trees_close(parts.retain, whole.retain, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("size", "match"),
    [
        (5, r"microbatch_size .*12 .*forget_batch.*got 5"),
        (3, r"microbatch_size .*8 .*retain_batch.*got 3"),
        (0, r"microbatch_size .*got 0"),
    ],
)
def test_a_size_that_does_not_divide_is_refused(size, match, params, batches, key):
    with pytest.raises(ValueError, match=match):
        forget_retain_grads(loss, params, *batches, key, microbatch_size=size)


def test_empty_batches_are_refused(params, batches, key):
    with pytest.raises(ValueError, match="retain_batch is empty"):
        forget_retain_grads(loss, params, batches[0], make_batch(0, 0), key)
    with pytest.raises(ValueError, match="forget_batch is empty"):
        forget_retain_grads(loss, params, {}, batches[1], key)


@pytest.mark.parametrize("y", [(8,), ()])
def test_uneven_batches_are_not_sliced(y, params, batches, key):
    uneven = {"x": jnp.ones((4, 3)), "y": jnp.ones(y)}
    with pytest.raises(ValueError, match=r"microbatch_size .*forget_batch"):
        forget_retain_grads(loss, params, uneven, batches[1], key, microbatch_size=2)


def test_parameters_that_are_not_floating_are_named(params, batches, key):
    with pytest.raises(TypeError, match=r"params .*step .*int32"):
        forget_retain_grads(loss, params | {"step": jnp.arange(2)}, *batches, key)


def with_aux(params, batch, key):
    return loss(params, batch, key), {"mean": jnp.mean(batch["y"]), "key": key, "name": None}


def test_aux_of_both_sides_comes_out_and_changes_no_gradient(params, batches, key):
    plain = forget_retain_grads(loss, params, *batches, key)
    grads = jax.jit(lambda p: forget_retain_grads(with_aux, p, *batches, key, has_aux=True))(params)
    assert_trees_close(grads[:4], plain[:4])
    assert (plain.forget_aux, plain.retain_aux) == (None, None)
    for aux, batch, side_key in zip(
        (grads.forget_aux, grads.retain_aux), batches, jax.random.split(key), strict=True
    ):
        np.testing.assert_allclose(aux["mean"], jnp.mean(batch["y"]), rtol=1e-6)
        assert aux["key"] == side_key
        assert aux["name"] is None


def test_a_custom_forget_loss_has_an_aux_of_its_own(params, batches, key):
    def toward_zero(params, batch, key):
        return jnp.mean((batch["x"] @ params["w"]) ** 2), "forget"

    grads = forget_retain_grads(
        with_aux, params, *batches, key, forget_loss=toward_zero, has_aux=True
    )
    assert grads.forget_aux == "forget"
    assert set(grads.retain_aux) == {"mean", "key", "name"}
    assert_trees_close(grads.forget_loss, toward_zero(params, batches[0], key)[0])


def test_aux_of_microbatches_is_refused(params, batches, key):
    with pytest.raises(ValueError, match=r"has_aux=True .*microbatch_size, got 4.*multi_steps"):
        forget_retain_grads(with_aux, params, *batches, key, microbatch_size=4, has_aux=True)


def test_a_loss_that_returns_a_pair_needs_has_aux(params, batches, key):
    with pytest.raises(TypeError, match=r"loss .*scalar, got a tuple of 2.*has_aux=True"):
        forget_retain_grads(with_aux, params, *batches, key)
    for wrong in (loss, lambda *arguments: (*with_aux(*arguments), 0)):
        with pytest.raises(TypeError, match=r"has_aux=True needs .*\(value, aux\), got"):
            forget_retain_grads(wrong, params, *batches, key, has_aux=True)
