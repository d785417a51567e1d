import time

import jax
import jax.numpy as jnp
import numpy as np
from compilations import count_compilations

from gsu_jax.runtime import Compiled, Stopwatch, compile_together, on_one_device


def test_compiling_is_timed_apart_from_the_run():
    def slow_to_trace(x):
        time.sleep(0.3)
        return x + 1

    function, stopwatch = Compiled(slow_to_trace), Stopwatch(seconds=1.0)
    assert stopwatch.run(function, jnp.float32(1.0)) == 2
    assert stopwatch.compile_seconds > 0.3 > stopwatch.seconds - 1.0 > 0
    before = stopwatch.compile_seconds
    stopwatch.run(function, jnp.float32(2.0))
    assert stopwatch.compile_seconds == before


def test_second_call_with_the_same_signature_compiles_nothing():
    double = Compiled(lambda x: 2 * x)
    x, y = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert not double.is_compiled(x)
    assert double.compile(x) > 0
    with count_compilations() as compiled:
        np.testing.assert_array_equal(double(y), [2, 2, 2])
        assert double.compile(y) == 0
    assert compiled == []
    assert double.compile(np.zeros(4, np.float32)) > 0


def test_one_program_is_kept_for_each_sharding():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    double = Compiled(lambda x: 2 * x)
    whole = jnp.arange(8.0)
    split = jax.device_put(whole, jax.NamedSharding(mesh, jax.P("x")))
    for x in (whole, split, whole, split):
        np.testing.assert_array_equal(double(x), 2 * np.arange(8.0))
    assert double(split).sharding == split.sharding


def test_shapes_stand_for_arrays():
    double = Compiled(lambda x: (2 * x, "a" if x.ndim else "b")[0])
    shape = on_one_device(jax.ShapeDtypeStruct((3,), jnp.float32))
    assert double.shapes(shape).shape == (3,)
    double.compile(double.shapes(shape))
    assert double.is_compiled(jnp.zeros(3))


def test_functions_are_compiled_together():
    double, triple = Compiled(lambda x: 2 * x), Compiled(lambda x: 3 * x)
    assert compile_together((double, (1.0,)), (triple, (2.0,))) > 0
    assert double.is_compiled(1.0)
    assert triple(2.0) == 6


def test_functions_of_doubles_are_compiled_together():
    double, x = Compiled(lambda x: 2 * x), jax.ShapeDtypeStruct((3,), "float64")
    with jax.enable_x64(True):
        compile_together((double, (x,)))
        assert double.is_compiled(x)
        assert double(np.full(3, 0.1)).tolist() == [0.2] * 3
