import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import count_compilations

from gsu_jax.runtime import _step_loop as stepping
from gsu_jax.runtime import jitted, stepper, timed

RNG = np.random.default_rng(0)
FACTORS = jnp.asarray(RNG.random(5), jnp.float32)
KERNELS = jnp.asarray(RNG.normal(size=(3, 3, 3, 1, 2)), jnp.float32)
IMAGES = jnp.asarray(RNG.random((2, 6, 6, 1)), jnp.float32)


def add(carry, x, shared):
    """Doubles the total and adds: total <- 2 total + x shared: the order of the steps matters."""
    total = 2 * carry["total"] + x * shared
    return {"total": total, "steps": carry["steps"] + 1}, {"total": total}


def start():
    return {"total": jnp.float32(1.0), "steps": jnp.int32(0)}


def convolve(kernel, x, shared):
    """One step of gradient descent on a convolution."""
    weight, images = x, shared

    def loss(kernel):
        drawn = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.square(drawn - weight).mean()

    value, grads = jax.value_and_grad(loss)(kernel)
    return kernel - 0.1 * grads, value


def relu(carry, x, shared):
    """The same shapes as `convolve`, without a convolution."""
    return carry + x * jnp.tanh(carry) * shared.mean(), carry.sum()


@pytest.fixture
def ran_one_by_one(monkeypatch):
    """Counts the programs that were built to run one step at a time."""
    built = []
    one_by_one = stepping._one_by_one
    monkeypatch.setattr(
        stepping, "_one_by_one", lambda *given: built.append(1) or one_by_one(*given)
    )
    return built


def test_steps_are_those_of_a_python_loop():
    carry, ys = stepper(add)(start(), FACTORS, jnp.float32(3.0))
    expected, totals = 1.0, []
    for factor in np.asarray(FACTORS, np.float64):
        expected = 2 * expected + 3 * factor
        totals.append(expected)
    np.testing.assert_allclose(carry["total"], expected, rtol=1e-6)
    np.testing.assert_allclose(ys["total"], totals, rtol=1e-6)
    assert carry["steps"] == 5


@pytest.mark.parametrize("members", [False, True])
def test_one_by_one_equals_the_scan(members, monkeypatch, ran_one_by_one):
    carry = KERNELS if members else KERNELS[0]
    xs = jnp.asarray(RNG.random((5, 3) if members else 5), jnp.float32)
    one_by_one = stepper(convolve, members=members)(carry, xs, IMAGES)
    assert ran_one_by_one
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    scanned = stepper(convolve, members=members)(carry, xs, IMAGES)
    assert len(ran_one_by_one) == 1
    assert one_by_one[1].shape == ((5, 3) if members else (5,))
    for ours, theirs in zip(one_by_one, scanned, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_on_a_cpu_steps_are_called_one_by_one_only_where_they_convolve(ran_one_by_one):
    stepper(relu)(KERNELS[0], FACTORS, IMAGES)
    assert not ran_one_by_one
    stepper(convolve)(KERNELS[0], FACTORS, IMAGES)
    assert ran_one_by_one


@pytest.mark.parametrize("step", [relu, convolve])
def test_each_member_of_a_group_goes_its_own_way(step):
    xs = jnp.asarray(RNG.random((5, 3)), jnp.float32)
    together, values = stepper(step, members=True)(KERNELS, xs, IMAGES)
    alone = stepper(step)
    for member in range(3):
        carry, ys = alone(KERNELS[member], xs[:, member], IMAGES)
        np.testing.assert_allclose(together[member], carry, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(values[:, member], ys, rtol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize("members", [False, True])
@pytest.mark.parametrize("step", [relu, convolve])
def test_the_callers_arrays_stay_alive_and_as_they_were(step, members):
    carry = jnp.copy(KERNELS) if members else jnp.copy(KERNELS[0])
    xs = jnp.ones((4, 3) if members else 4)
    before = np.array(carry)
    run = stepper(step, members=members)
    run(carry, xs, IMAGES)
    run(carry, xs, IMAGES)
    np.testing.assert_array_equal(carry, before)
    assert not xs.is_deleted()


@pytest.mark.parametrize("step", [relu, convolve])
def test_a_second_run_of_the_same_shapes_compiles_nothing(step):
    run = stepper(step, members=True)
    xs, other_xs = jnp.ones((4, 3)), jnp.full((4, 3), 2.0)
    (carry, _), _, compile_seconds = timed(run, KERNELS, xs, IMAGES)
    assert compile_seconds > 0
    with count_compilations() as compiled:
        (_, _), seconds, compile_seconds = timed(run, carry, other_xs, IMAGES)
    assert compiled == []
    assert compile_seconds == 0
    assert seconds > 0


def test_another_number_of_steps_is_another_program_with_its_own_result():
    run = stepper(add)
    run(start(), FACTORS, jnp.float32(1.0))
    assert run.compile(start(), FACTORS[:2], jnp.float32(1.0)) > 0
    assert run(start(), FACTORS[:2], jnp.float32(1.0))[0]["steps"] == 2


def test_time_spent_compiling_is_not_in_the_seconds_of_the_run():
    def slow_to_trace(x):
        time.sleep(0.3)
        return x + 1

    result, seconds, compile_seconds = timed(jitted(slow_to_trace), jnp.float32(1.0))
    assert result == 2
    assert compile_seconds > 0.3 > seconds


def test_a_program_is_kept_for_each_sharding():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    double = jitted(lambda x: 2 * x)
    here = jnp.arange(8.0)
    spread = jax.device_put(here, jax.NamedSharding(mesh, jax.P("x")))
    for x in (here, spread, here, spread):
        np.testing.assert_array_equal(double(x), 2 * np.arange(8.0))


# One of two


@pytest.mark.parametrize("convolves", [False, True], ids=["plain", "convolution"])
def test_one_of_two_is_what_the_condition_says_and_only_a_convolution_is_run_outside_it(convolves):
    def both(condition):
        first = convolve if convolves else relu
        return stepping.select(
            condition,
            lambda: first(KERNELS[0], jnp.float32(0.5), IMAGES)[0],
            lambda: KERNELS[0],
        )

    expected = (convolve if convolves else relu)(KERNELS[0], jnp.float32(0.5), IMAGES)[0]
    run = jax.jit(both)
    np.testing.assert_allclose(run(True), expected, rtol=1e-5)
    np.testing.assert_array_equal(run(False), KERNELS[0])
    branches = "cond[" in str(jax.make_jaxpr(both)(True))
    assert branches != (convolves and jax.default_backend() == "cpu")
