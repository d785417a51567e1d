"""`sweep`: one method with many settings, from many models, under one compiled program."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import check_images, check_pair, concatenate
from gsu_jax.methods import Method, get_method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import Compiled, Placement, jitted, stepper, timed
from gsu_jax.unlearning._epoch import EpochShape, epoch_order
from gsu_jax.unlearning._result import UnlearningResult
from gsu_jax.unlearning._step import epoch_sizes, initialize, take_step

Settings = Mapping[str, Sequence[float] | np.ndarray | jax.Array]


def sweep(
    model: GenerativeModel,
    params: Params,
    forget: jax.Array | np.ndarray,
    retain: jax.Array | np.ndarray,
    *,
    method: str | Method,
    settings: Settings,
    keys: jax.Array,
    epochs: int = 1,
) -> UnlearningResult:
    """`unlearn` with every setting from every model, as members of one `vmap`.

    Member (i, j) is, up to rounding,

        unlearn(model, params[j], forget, retain, key=keys[j], epochs=epochs,
                method=replace(method, name=settings[name][i], ...))

    The values are arguments of the program, not constants in it: another sweep of as many values
    and seeds compiles nothing. All members are held at once: parameters, optimiser state and a
    batch's activations of each. Models that convolve run one member after the other on a CPU,
    still under one program (`gsu_jax.runtime`).

    Args:
      model: the generative model.
      params: trained parameters, each leaf with a leading axis of seeds.
      forget: `[n, h, w, c]` images, uint8 or float in [0, 1].
      retain: the same for the images to be retained.
      method: a name or a method, with the settings that all members share.
      settings: of a field of the method its values, one for each setting of the sweep. Traced, so
        the method must compute with it alone: "learning_rate" does for every method,
        "retain_weight" for `GradientSurgery`; a batch size does not.
      keys: `[seeds]`, one for the run of each seed; settings of one seed see the same batches.
      epochs: passes over the visited set.

    Returns:
      An `UnlearningResult` of all members: leaves of `params` and of `history` have leading axes
      `[settings, seeds]`; `seconds` and `compile_seconds` are those of all of them together.

    Raises:
      ValueError, TypeError: for an argument that can't be used, named with what was found.
    """
    method = get_method(method)
    method.check(model)
    forget, retain = check_images(forget, "forget"), check_images(retain, "retain")
    check_pair(forget, retain)
    sets = concatenate(forget, retain)
    sizes, room = epoch_sizes(method, sets, epochs)
    steps = sizes.steps * epochs
    settings = _checked(method, settings)
    grid = (len(next(iter(settings.values()))), len(keys))
    program = _program(model, method, room)
    times = []

    def run(compiled: Compiled, *arguments: Any) -> Any:
        result, *spent = timed(compiled, *arguments)
        times.append(spent)
        return result

    params, sets = jax.tree.map(jnp.asarray, (params, sets))
    carry = run(program.start, params, settings, keys, sets, steps)
    rows = []
    for epoch in range(epochs if sizes.steps else 0):
        xs = run(program.order, settings, keys, epoch, sizes)
        carry, metrics = run(program.steps, carry, xs, (sets, steps), 0, sizes.steps)
        rows.append(jax.tree.map(np.asarray, metrics))
    history = {
        name: np.concatenate([row[name] for row in rows]).T.reshape(*grid, -1)
        for name in (rows[0] if rows else ())
    }
    (params, _), _ = carry
    params = jax.tree.map(lambda leaf: leaf.reshape(*grid, *leaf.shape[1:]), params)
    seconds, compile_seconds = map(sum, zip(*times, strict=True))
    return UnlearningResult(params, history, seconds, compile_seconds, steps, stopped=False)


def _checked(method: Method, settings: Settings) -> dict[str, jax.Array]:
    """`settings` as float32 arrays, which a program has the same shapes for."""
    arrays = {name: np.asarray(values, np.float32) for name, values in settings.items()}
    if strangers := arrays.keys() - {field.name for field in fields(method)}:
        raise ValueError(f"settings: {method.name} has no setting {min(strangers)!r}.")
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1 or not shape[0]:
        found = {name: array.shape for name, array in arrays.items()}
        raise ValueError(
            f"settings must have as many values for each name, at least one, found shapes {found}."
        )
    return jax.tree.map(jnp.asarray, arrays)


class _Program(NamedTuple):
    """The compiled parts of a sweep: the first state, the order of an epoch, and its steps."""

    start: Compiled
    order: Compiled
    steps: Compiled


@lru_cache
def _program(model: GenerativeModel, method: Method, room: EpochShape) -> _Program:
    def run_of(setting: dict[str, jax.Array]) -> tuple:
        return model, replace(method, **setting), None, Placement()

    def start_one(params, setting, key, sets, steps):
        return initialize(*run_of(setting), params, sets, steps, jax.random.split(key, 4)[0])

    def order_one(setting, key, epoch, sizes):
        # The keys of `unlearn`, so that a member is one of its runs.
        _, order_key, step_key, _ = jax.random.split(key, 4)
        every_step = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, room.steps), (setting, step_key)
        )
        return epoch_order(order_key, epoch, sizes, room), *every_step

    def step_one(carry, x, data):
        carry, prepared = carry
        order, setting, key = x
        carry, metrics = take_step(*run_of(setting), carry, order, (*data, prepared, key))
        return (carry, prepared), metrics

    def start(params, settings, keys, sets, steps):
        params, settings, keys = _members(params, settings, keys)
        return jax.vmap(start_one, (0, 0, 0, None, None))(params, settings, keys, sets, steps)

    def order(settings, keys, epoch, sizes):
        _, settings, keys = _members(None, settings, keys)
        return jax.vmap(order_one, (0, 0, None, None), out_axes=1)(settings, keys, epoch, sizes)

    return _Program(jitted(start), jitted(order), stepper(step_one, members=True))


def _members(params: Params, settings: dict[str, jax.Array], keys: jax.Array) -> tuple:
    """All three with a leading axis of members: the seeds of the first setting come first."""
    seeds = len(keys)
    member = jnp.arange(seeds * len(next(iter(settings.values()))))
    params, keys = jax.tree.map(lambda leaf: leaf[member % seeds], (params, keys))
    return params, jax.tree.map(lambda leaf: leaf[member // seeds], settings), keys
