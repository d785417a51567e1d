import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import count_compilations
from helpers import assert_trees_close, assert_trees_equal

from gsu_jax.runtime import Compiled, loop_steps, scan_steps


def add(carry, x, constant):
    """Total <- 2 total + x constant: the order of the steps matters."""
    total = 2 * carry["total"] + x * constant
    return {"total": total, "steps": carry["steps"] + 1}, {"total": total}


@pytest.fixture(scope="module")
def scan():
    return Compiled(scan_steps(add))


@pytest.fixture(scope="module")
def loop():
    return Compiled(loop_steps(add))


@pytest.fixture
def start():
    return {"total": jnp.float32(1.0), "steps": jnp.int32(0)}


INPUTS = np.float32([0.5, 0.25, 0.125, 1.0, 3.0])


def by_hand(first=0, last=5):
    total, totals = 1.0, np.zeros(5)
    for i in range(first, last):
        total = 2 * total + 3 * float(INPUTS[i])
        totals[i] = total
    return {"total": total, "steps": last - first}, {"total": totals}


def test_scan_is_a_python_loop(scan, start):
    assert_trees_close(scan(start, INPUTS, jnp.float32(3.0)), by_hand())


@pytest.mark.parametrize(("first", "last"), [(0, 5), (1, 3), (2, 2)])
def test_loop_is_a_python_loop_over_a_span(loop, start, first, last):
    result = loop(start, INPUTS, jnp.float32(3.0), first, last)
    assert_trees_close(result, by_hand(first, last))


def test_any_span_is_the_same_program(loop, start):
    loop(start, INPUTS, jnp.float32(3.0), 0, 5)
    constant = jnp.float32(2.0)
    with count_compilations() as compiled:
        loop(start, INPUTS, constant, 2, 4)
    assert compiled == []


def test_step_is_traced_once_for_a_loop(start):
    traces = []

    def step(carry, x, constant):
        traces.append(1)
        return add(carry, x, constant)

    Compiled(loop_steps(step)).compile(start, INPUTS, jnp.float32(3.0), 0, 5)
    assert len(traces) == 1


def test_members_under_vmap_are_the_runs_alone(scan):
    members = {"total": jnp.float32([1.0, -2.0]), "steps": jnp.int32([0, 0])}
    inputs = np.stack([INPUTS, INPUTS[::-1]], axis=1)
    together = scan_steps(jax.vmap(add, (0, 0, None)))(members, inputs, jnp.float32(3.0))
    for i in range(2):
        alone = scan(
            jax.tree.map(lambda leaf, i=i: leaf[i], members), inputs[:, i], jnp.float32(3.0)
        )
        carry, outputs = together
        own = (
            jax.tree.map(lambda leaf, i=i: leaf[i], carry),
            jax.tree.map(lambda leaf, i=i: leaf[:, i], outputs),
        )
        assert_trees_close(own, alone)


def test_callers_arrays_are_not_donated(scan, start):
    before = jax.tree.map(np.array, start)
    scan(start, INPUTS, jnp.float32(3.0))
    assert_trees_equal(start, before)
