"""The one place that decides how training steps are compiled: scanned or one by one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.runtime._compiled import Compiled, jitted
from gsu_jax.runtime._memory import Scale

Carry = Any
Step = Callable[[Carry, Any, Any], tuple[Carry, Any]]
Program = Callable[..., tuple[Carry, Any]]


def stepper(
    step: Step, *, members: bool = False, batches: Mapping[str, int] | None = None
) -> Compiled:
    """`run(carry, xs, shared)`: `carry, y = step(carry, x, shared)` for each x along axis 0 of xs.

    It returns the last carry and the stacked `y`s. `shared` (data, a teacher) is an argument of the
    program, not a constant in it. No argument is donated: the caller's arrays stay alive.
    `run(carry, xs, shared, first, last)` takes those steps alone; others of as large an xs are the
    same program.

    With `members` the step is that of one member of a group, such as one of several seeds: the
    leaves of carry have a leading axis of members, those of xs and of the result a second one;
    `shared` is common to all.

    A `lax.scan` over all steps, of all members under one `vmap`; but steps with convolutions on a
    CPU are calls of their own, for one member after the other. There XLA runs a convolution's
    gradient 22 times slower inside a loop (1.37 s against 0.060 s a step for three strided 3x3
    layers at 32x32x3, batch 128), and 3 times slower per member under `vmap`, as a grouped
    convolution. Callers do not know which it is.

    `batches` are the settings that the memory of a step grows with, by name: what to lower where it
    runs out.
    """

    def step_at(carry: Carry, xs: Any, shared: Any, i: jax.Array) -> tuple[Carry, Any]:
        return step(carry, jax.tree.map(lambda x: x[i], xs), shared)

    def lower(carry: Carry, xs: Any, shared: Any, *span: int) -> Callable[[], Program]:
        first = jitted(_take)(carry, xs, 0) if members else (carry, xs)
        one = jax.jit(step_at, donate_argnums=0).trace(*first, shared, 0)
        if _convolves_on_a_cpu(one.jaxpr):
            return partial(_compile_one_by_one, one.lower(), first[0], members)
        together = jax.vmap(step, (0, 0, None)) if members else step
        lead = jax.tree.leaves(xs)[0].shape[: 1 + members]
        loop = partial(_loop, together, one.out_info[1], lead) if span else partial(_scan, together)
        loop = jax.jit(loop)
        lowered = loop.lower(carry, xs, shared, *span)
        return lambda: _within(lowered.compile())

    def scale(carry: Carry, *rest: Any) -> Scale:
        return Scale(batches or {}, len(jax.tree.leaves(carry)[0]) if members else 1)

    return Compiled(lower, scale)


def select(condition: jax.Array, first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """`first()` where the condition holds, else `second()`: a `lax.cond`, so that one is run.

    But where `first` convolves on a CPU both are run, and one result is taken: there XLA runs
    convolutions slowly inside a branch too (0.81 s against 0.13 s for the Hessian-vector products
    of three 3x3 layers at 32x32x3, batch 32).
    """
    if _convolves_on_a_cpu(jax.make_jaxpr(first)()):
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first(), second())
    return jax.lax.cond(condition, first, second)


def _convolves_on_a_cpu(jaxpr: Any) -> bool:
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(jaxpr)


def _scan(step: Step, carry: Carry, xs: Any, shared: Any) -> tuple[Carry, Any]:
    return jax.lax.scan(lambda carry, x: step(carry, x, shared), carry, xs)


def _loop(
    step: Step,
    y: Any,
    lead: tuple[int, ...],
    carry: Carry,
    xs: Any,
    shared: Any,
    first: jax.Array,
    last: jax.Array,
) -> tuple[Carry, Any]:
    """`_scan` from `first` to before `last`; the `y`s of other steps are zeros.

    `y` has the shapes of one member's, to which the `ys` add the axes `lead`.
    """

    def take(i: jax.Array, carry_and_ys: tuple[Carry, Any]) -> tuple[Carry, Any]:
        carry, ys = carry_and_ys
        carry, y = step(carry, jax.tree.map(lambda x: x[i], xs), shared)
        return carry, jax.tree.map(lambda all_, one: all_.at[i].set(one), ys, y)

    zeros = jax.tree.map(lambda y: jnp.zeros((*lead, *y.shape), y.dtype), y)
    return jax.lax.fori_loop(first, last, take, (carry, zeros))


def _within(loop: Program) -> Program:
    """Its `y`s are those of the steps that were taken."""

    def program(carry: Carry, xs: Any, shared: Any, *span: int) -> tuple[Carry, Any]:
        carry, ys = loop(carry, xs, shared, *span)
        return carry, jax.tree.map(lambda y: np.asarray(y)[slice(*span)], ys) if span else ys

    program.memory_analysis = loop.memory_analysis
    return program


def _compile_one_by_one(step_at: Any, carry: Carry, members: bool) -> Program:
    program = _one_by_one(step_at.compile(), _copy(carry))
    return _one_after_the_other(program, jitted(_take)) if members else program


def _one_by_one(step_at: Callable, copy: Callable) -> Program:
    def program(carry: Carry, xs: Any, shared: Any, *span: int) -> tuple[Carry, Any]:
        carry = copy(carry)  # each step donates its carry to the next
        ys = []
        for i in range(*(span or (len(jax.tree.leaves(xs)[0]),))):
            carry, y = step_at(carry, xs, shared, i)
            ys.append(y)
        return carry, _stack(ys, axis=0)

    program.memory_analysis = step_at.memory_analysis
    return program


def _one_after_the_other(program: Program, take: Callable) -> Program:
    def programs(carry: Carry, xs: Any, shared: Any, *span: int) -> tuple[Carry, Any]:
        members = range(len(jax.tree.leaves(carry)[0]))
        alone = (program(*take(carry, xs, m), shared, *span) for m in members)
        carries, ys = zip(*alone, strict=True)
        return _stack(carries, axis=0), _stack(ys, axis=1)

    programs.memory_analysis = program.memory_analysis
    return programs


def _take(carry: Carry, xs: Any, member: jax.Array) -> tuple[Carry, Any]:
    own = jax.tree.map(lambda leaf: leaf[member], carry)
    return own, jax.tree.map(lambda x: x[:, member], xs)


def _copy(carry: Carry) -> Callable[[Carry], Carry]:
    copy = jitted(lambda tree: jax.tree.map(jnp.copy, tree))
    copy.compile(carry)
    return copy


def _stack(trees: Any, axis: int) -> Any:
    # By NumPy: it is only done on CPUs, and an eager jnp.stack would compile while the clock runs.
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves, axis)), *trees)
