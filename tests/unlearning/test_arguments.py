"""What `unlearn` refuses, before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_autoencoder import MODEL, images

from gsu_jax import Before, FineTune, GenerativeModel, GradientAscent, GradientSurgery, unlearn
from gsu_jax.unlearning._arguments import count_shared

FORGET, RETAIN = images(1, 6, offset=0.5), images(2, 9)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "forget_it"}, ValueError, "method.*'forget_it'"),
        ({"method": FineTune}, TypeError, r"method.*FineTune\(\)"),
        ({"model": object()}, TypeError, "model.*got object"),
        ({"key": 0}, TypeError, r"key.*got 0.*jax\.random\.key"),
        ({"params": {"wrong": 0.0}}, ValueError, r"model\.loss.*params"),
        ({"callback_every": 0}, ValueError, "callback_every.*got 0"),
        ({"callback_every": 5}, ValueError, "callback_every=5.*callback"),
        ({"method": "redirect_surgery"}, ValueError, "redirect_surgery.* encode.*uno_s, .*vdu"),
        ({"method": GradientSurgery(through="decoder")}, ValueError, "gradient_surgery.* encode"),
        ({"guide": object()}, ValueError, "guide.* gradient_ascent"),
        ({"forget": FORGET[:0]}, ValueError, "forget"),
        ({"retain": RETAIN[:0]}, ValueError, "retain"),
        ({"forget": FORGET * 255}, ValueError, "forget.* 255"),
        ({"retain": RETAIN * 2 - 1}, ValueError, r"retain.*\(images \+ 1\) / 2"),
        ({"retain": np.full_like(RETAIN, np.nan)}, ValueError, "retain.* NaN"),
        ({"forget": FORGET[0]}, ValueError, "forget"),
        ({"forget": FORGET[:, :1]}, ValueError, r"\(1, 2, 1\) and \(2, 2, 1\)"),
        ({"forget": FORGET.astype(int)}, TypeError, "forget"),
        ({"epochs": -1}, ValueError, "epochs.*got -1"),
        ({"epochs": 0.5}, TypeError, r"epochs.*got 0\.5"),
        ({"batch_size": 0}, ValueError, "batch_size.*got 0"),
        ({"retain_batch_size": 0}, ValueError, "retain_batch_size.*got 0"),
        ({"optimizer": 1e-3}, TypeError, r"optimizer.*got 0\.001"),
    ],
)
def test_bad_argument_is_named(changes, error, message):
    with pytest.raises(error, match=message):
        run(**changes)


def run(**changes):
    arguments = {
        "model": MODEL,
        "params": MODEL.init(jax.random.key(0)),
        "forget": FORGET,
        "retain": RETAIN,
        "method": "gradient_ascent",
        "key": jax.random.key(1),
    }
    return unlearn(**arguments | changes)


def test_a_loss_of_many_numbers_is_refused():
    model = GenerativeModel(None, lambda params, images, key: images.mean((1, 2, 3)), None)
    with pytest.raises(ValueError, match=r"model\.loss.*one number.*\(2,\)"):
        run(model=model)


def test_a_traced_call_is_refused():
    params = MODEL.init(jax.random.key(0))
    given = {"params": params, "key": jax.random.key(0)}  # made outside
    with pytest.raises(TypeError, match=r"forget.*jax\.jit"):
        jax.jit(lambda forget: run(forget=forget, **given).params)(FORGET)
    with pytest.raises(TypeError, match=r"params and key.*jax\.jit"):
        jax.jit(lambda key: run(key=key).params)(jax.random.key(0))


def test_a_loss_that_is_not_finite_at_the_end_is_warned_of(caplog):
    model = GenerativeModel(MODEL.init, lambda params, images, key: jnp.nan * images.mean(), None)
    run(model=model, method=GradientAscent(label="lost"))
    assert "lost ended with forget_loss not finite" in caplog.text


def test_a_method_without_steps_that_loses_the_parameters_is_warned_of(caplog):
    run(method=Before())
    assert not caplog.text
    params = MODEL.init(jax.random.key(0))
    lost = params | {"encoder": jax.tree.map(lambda x: x * jnp.nan, params["encoder"])}
    run(params=lost, method=Before(label="of no steps"))
    assert "of no steps ended with parameters that are not finite" in caplog.text


def test_examples_in_both_sets_are_counted_in_a_warning():
    with pytest.warns(UserWarning, match="2 of the 6 .*retain"):
        run(retain=np.concatenate([RETAIN, FORGET[2:4]]))


def test_a_run_of_few_steps_is_warned_of(caplog):
    few = GradientAscent(label="of few steps")
    for _ in range(2):
        run(method=few, batch_size=6, epochs=2)
    assert caplog.text.count("of few steps takes 2 step(s)") == 1
    assert "epochs=25" in caplog.text
    caplog.clear()
    run(method=few, batch_size=1, epochs=2)
    assert not caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("tree", [False, True])
def test_shared_examples_are_counted_bit_for_bit(dtype, tree):
    """Borders are black, as in many images, and two examples differ in one byte alone."""
    rng = np.random.default_rng(0)
    x = np.zeros((60, 12, 12, 1), dtype)
    x[:, 5:7, 5:7] = rng.integers(0, 200, (60, 2, 2, 1))
    x[41] = x[40]
    x[41, 11, 11] = 1
    forget, retain = x[:41], x[np.r_[30:35, 41:60]]
    if tree:
        forget, retain = ({"x": some, "n": np.zeros(len(some), int)} for some in (forget, retain))
    assert count_shared(forget, retain) == 5
    one = jax.tree.map(lambda leaf: leaf[:1], forget)
    assert count_shared(one, retain) == 0
    assert count_shared(one, one) == 1
