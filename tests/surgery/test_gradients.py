"""The two gradients: their signs, their keys, and their accumulation over microbatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.surgery import forget_retain_grads

KEY = jax.random.key(0)


def loss(params, batch, key):
    del key
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def make_batch(n, seed):
    rng = np.random.default_rng(seed)
    return {"x": jnp.float32(rng.normal(size=(n, 3))), "y": jnp.float32(rng.normal(size=n))}


PARAMS = {"w": jnp.array([0.1, -0.2, 0.3]), "b": jnp.float32(0.5)}
FORGET, RETAIN = make_batch(12, 1), make_batch(8, 2)


def assert_close(a, b, tolerance=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(
            np.asarray(x, np.float32), np.asarray(y, np.float32), rtol=tolerance, atol=tolerance
        )


def test_descending_the_forget_gradient_raises_the_loss_on_the_forget_batch():
    grads = forget_retain_grads(loss, PARAMS, FORGET, RETAIN, KEY)
    for gradient, batch, value, sign in (
        (grads.forget, FORGET, grads.forget_loss, +1),
        (grads.retain, RETAIN, grads.retain_loss, -1),
    ):
        descended = jax.tree.map(lambda p, g: p - 1e-3 * g, PARAMS, gradient)
        assert value == loss(PARAMS, batch, KEY)
        assert np.sign(loss(descended, batch, KEY) - value) == sign


def test_gradients_are_those_of_the_two_losses():
    grads = forget_retain_grads(loss, PARAMS, FORGET, RETAIN, KEY)
    assert_close(grads.forget, jax.grad(lambda p: -loss(p, FORGET, KEY))(PARAMS))
    assert_close(grads.retain, jax.grad(loss)(PARAMS, RETAIN, KEY))


def test_a_forget_loss_of_ones_own_is_descended_as_it_is():
    def towards_zero(params, batch, key):
        del key
        return jnp.mean((batch["x"] @ params["w"]) ** 2)

    grads = forget_retain_grads(loss, PARAMS, FORGET, RETAIN, KEY, forget_loss=towards_zero)
    assert_close(grads.forget, jax.grad(towards_zero)(PARAMS, FORGET, KEY))
    assert_close(grads.forget_loss, towards_zero(PARAMS, FORGET, KEY))
    assert_close(grads.retain, jax.grad(loss)(PARAMS, RETAIN, KEY))


def noise(params, batch, key):
    return params["b"] * jax.random.normal(key) + 0.0 * jnp.sum(batch["x"])


def test_the_key_is_split_as_documented():
    forget_key, retain_key = jax.random.split(KEY)
    grads = forget_retain_grads(noise, PARAMS, FORGET, RETAIN, KEY)
    assert_close(grads.forget["b"], -jax.random.normal(forget_key))
    assert_close(grads.retain["b"], jax.random.normal(retain_key))
    grads = forget_retain_grads(noise, PARAMS, FORGET, RETAIN, KEY, microbatch_size=4)
    for gradient, key, n, sign in (
        (grads.forget["b"], forget_key, 3, -1),
        (grads.retain["b"], retain_key, 2, 1),
    ):
        draws = [jax.random.normal(jax.random.fold_in(key, i)) for i in range(n)]
        assert_close(gradient, sign * np.mean(draws))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_microbatches_equal_the_whole_batch(size):
    whole = forget_retain_grads(loss, PARAMS, FORGET, RETAIN, KEY)
    parts = jax.jit(lambda p, f, r: forget_retain_grads(loss, p, f, r, KEY, microbatch_size=size))(
        PARAMS, FORGET, RETAIN
    )
    assert_close(parts, whole)


def test_microbatches_accumulate_low_precision_in_float32():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    n = 1024
    batch = {"x": jnp.ones((n, 3), jnp.bfloat16), "y": jnp.zeros(n, jnp.bfloat16)}
    parts = forget_retain_grads(loss, params, batch, batch, KEY, microbatch_size=1)
    whole = forget_retain_grads(loss, params, batch, batch, KEY)
    assert parts.retain["w"].dtype == jnp.bfloat16
    assert_close(parts.retain, whole.retain, 1e-2)


def test_batches_may_be_bare_arrays():
    def mean_square(params, batch, key):
        del key
        return jnp.mean((params - batch) ** 2)

    images = jnp.arange(6.0).reshape(6, 1)
    grads = forget_retain_grads(mean_square, jnp.ones(1), images, images, KEY, microbatch_size=3)
    assert_close(grads.retain, jax.grad(mean_square)(jnp.ones(1), images, KEY))


def test_a_size_that_does_not_divide_names_both_numbers():
    with pytest.raises(
        ValueError, match=r"microbatch_size 4 does not divide the 10 .* forget_batch"
    ):
        forget_retain_grads(loss, PARAMS, make_batch(10, 0), RETAIN, KEY, microbatch_size=4)
    with pytest.raises(
        ValueError, match=r"microbatch_size 3 does not divide the 8 .* retain_batch"
    ):
        forget_retain_grads(loss, PARAMS, FORGET, RETAIN, KEY, microbatch_size=3)
    with pytest.raises(ValueError, match="microbatch_size 0 does not divide"):
        forget_retain_grads(loss, PARAMS, FORGET, RETAIN, KEY, microbatch_size=0)


def test_batches_that_cannot_be_sliced_are_refused():
    with pytest.raises(ValueError, match="retain_batch is empty"):
        forget_retain_grads(loss, PARAMS, FORGET, make_batch(0, 0), KEY)
    uneven = {"x": jnp.ones((4, 3)), "y": jnp.ones(8)}
    with pytest.raises(ValueError, match=r"leaves of forget_batch differ in it: .*'y': 8"):
        forget_retain_grads(loss, PARAMS, uneven, RETAIN, KEY, microbatch_size=2)


def test_parameters_that_are_not_floating_are_named():
    params = PARAMS | {"step": jnp.arange(2)}
    with pytest.raises(TypeError, match="params has a leaf step of dtype int32"):
        forget_retain_grads(loss, params, FORGET, RETAIN, KEY)
