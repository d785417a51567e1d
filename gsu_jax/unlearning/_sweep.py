"""`sweep`: one method with many settings, from many models, in one compiled program."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import Examples, concatenate
from gsu_jax.methods import Method, check_method, get_method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import (
    Compiled,
    Placement,
    ProgramCache,
    Stopwatch,
    explain_out_of_memory,
    loop_steps,
)
from gsu_jax.unlearning._arguments import check_sets
from gsu_jax.unlearning._epoch import EpochShape, epoch_order
from gsu_jax.unlearning._result import UnlearningResult
from gsu_jax.unlearning._step import Carry, RunConstants, epoch_sizes, initialize, take_step

Settings = Mapping[str, Sequence[float] | np.ndarray | jax.Array]


def sweep(
    model: GenerativeModel,
    params: Params,
    forget: Examples,
    retain: Examples,
    *,
    method: str | Method,
    settings: Settings,
    keys: jax.Array,
    epochs: int = 1,
) -> UnlearningResult:
    """Runs `unlearn` with every setting from every model, under one `vmap`.

    Up to rounding, member (i, j) is

        unlearn(model, params[j], forget, retain, key=keys[j], epochs=epochs,
                method=replace(method, name=settings[name][i], ...))

    The values are arguments of the program, so another sweep with the same numbers of values and
    seeds compiles nothing. The device holds parameters, optimizer state and activations of all
    members at once.

    Args:
        model: The generative model.
        params: Trained parameters, each leaf with a leading axis of seeds.
        forget: The examples to forget, as for `unlearn`.
        retain: The examples to retain, in the same form.
        method: A name or a method, with the settings that all members share.
        settings: The values of fields of the method, equally many for each field. They are
            traced, so the method may only compute with them: "learning_rate" works for every
            method and "retain_weight" for `GradientSurgery`; a batch size does not work.
        keys: `[seeds]`. All settings of one seed see the same batches.
        epochs: The number of passes over the visited set.

    Returns:
        An `UnlearningResult` of all members. Leaves of `params` and `history` have leading axes
        `[settings, seeds]`. `seconds` and `compile_seconds` are those of all members together.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong value, or the model lacks what the method needs.
        OutOfMemory: The members do not fit on the device; says how many would.
    """
    method = get_method(method)
    check_method(method, model)
    forget, retain = check_sets(method, forget, retain)
    sets, place = concatenate(forget, retain), Placement()
    sizes, shape = epoch_sizes(method, sets, epochs, place)
    steps = sizes.steps * epochs
    settings = _checked(method, settings)
    grid = (len(next(iter(settings.values()))), len(keys))
    program, stopwatch = _program_of(model, method, shape, place), Stopwatch()
    params, sets = jax.tree.map(jnp.asarray, (params, sets))
    parts = []
    with explain_out_of_memory(models=math.prod(grid)):
        members = stopwatch.run(program.initialize, params, settings, keys, sets, steps)
        for epoch in range(epochs if sizes.steps else 0):
            order = stopwatch.run(program.order, members.key, epoch, sizes)
            members, metrics = stopwatch.run(
                program.steps, members, order, (sets.images, steps), 0, sizes.steps
            )
            parts.append(jax.tree.map(lambda x: np.asarray(x)[: sizes.steps], metrics))
    history = {
        name: np.concatenate([part[name] for part in parts]).T.reshape(*grid, -1)
        for name in (parts[0] if parts else ())
    }
    params, _ = members.carry
    params = jax.tree.map(lambda leaf: leaf.reshape(*grid, *leaf.shape[1:]), params)
    return UnlearningResult(
        params, history, stopwatch.seconds, stopwatch.compile_seconds, steps, stopped=False
    )


def _checked(method: Method, settings: Settings) -> dict[str, jax.Array]:
    """`settings` as float32 arrays, so that other values have the same shapes."""
    arrays = {name: np.asarray(values, np.float32) for name, values in settings.items()}
    if unknown := arrays.keys() - {field.name for field in fields(method)}:
        raise ValueError(f"settings: {method.name} has no setting {min(unknown)!r}")
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or len(shape := min(shapes.values())) != 1 or not shape[0]:
        raise ValueError(
            "settings must have the same number of values for each name, at least one, got "
            f"shapes {shapes}"
        )
    return jax.tree.map(jnp.asarray, arrays)


class _Members(NamedTuple):
    """The runs of a sweep, each leaf with a leading axis; the seeds of the first setting first.

    Attributes:
        carry: Parameters and optimizer state.
        prepared: What the method computed from the data.
        setting: The values of the swept settings.
        key: The key of the run.
    """

    carry: Carry
    prepared: Any
    setting: dict[str, jax.Array]
    key: jax.Array


class _Program(NamedTuple):
    """The compiled parts of a sweep."""

    initialize: Compiled
    order: Compiled
    steps: Compiled


def _program_of(
    model: GenerativeModel, method: Method, shape: EpochShape, place: Placement
) -> _Program:
    # The keys are those of `unlearn`, so that a member is one of its runs.
    def initialize_one(params, setting, key, sets, steps):
        start_key, _, _, _ = jax.random.split(key, 4)
        run = model, replace(method, **setting), None, place
        carry, prepared = initialize(*run, params, sets, steps, start_key)
        return _Members(carry, prepared, setting, key)

    def order_one(key, epoch, sizes):
        _, order_key, _, _ = jax.random.split(key, 4)
        return epoch_order(order_key, epoch, sizes, shape)

    def step_one(member, inputs, constants):
        _, _, step_key, _ = jax.random.split(member.key, 4)
        run = model, replace(method, **member.setting), None, place
        images, steps = constants
        constants = RunConstants(images, steps, member.prepared, step_key)
        carry, metrics = take_step(*run, member.carry, inputs, constants)
        return member._replace(carry=carry), metrics

    def initialize_all(params, settings, keys, sets, steps):
        seeds, values = len(keys), len(next(iter(settings.values())))
        member = jnp.arange(seeds * values)
        params, keys = jax.tree.map(lambda leaf: leaf[member % seeds], (params, keys))
        settings = jax.tree.map(lambda leaf: leaf[member // seeds], settings)
        one = jax.vmap(initialize_one, (0, 0, 0, None, None))
        return one(params, settings, keys, sets, steps)

    def build() -> _Program:
        return _Program(
            Compiled(initialize_all),
            Compiled(jax.vmap(order_one, (0, None, None), out_axes=1)),
            Compiled(loop_steps(jax.vmap(step_one, (0, 0, None)))),
        )

    return ProgramCache.default.get((_Program, model, method, shape, place), build)
