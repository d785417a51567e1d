"""`unlearn`: the one loop that runs every method."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from gsu_jax.batches import EpochRoom, EpochSizes, epoch_order
from gsu_jax.compiled import Compiled, compile_together, jitted, on_one_device, timed
from gsu_jax.generative import GenerativeModel, Params, check_images, check_pair
from gsu_jax.image_sets import JoinedSets, capacity, join
from gsu_jax.methods import Method, get_method
from gsu_jax.placement import Placement
from gsu_jax.stepping import stepper
from gsu_jax.unlearning_step import begin, epoch_sizes, take_step, with_images

History = dict[str, np.ndarray]


@dataclass(frozen=True)
class StopRule:
    """Stops a run early: when `metric <= at_most` at `times` looks in a row, `every` n steps.

    Attributes:
      metric: `metric(params, key) -> scalar`, traced by `jax.jit`, for instance the share of
        samples that a guide takes for the removed class.
      at_most: the value to reach.
      every: steps from one look to the next, counted anew in each epoch, whose end is a look too.
      times: looks in a row at which it must hold.
    """

    metric: Callable[[Params, jax.Array], jax.Array]
    at_most: float
    every: int = 10
    times: int = 3

    def __post_init__(self) -> None:
        if self.every < 1 or self.times < 1:
            raise ValueError(
                f"every and times must be at least 1, found {self.every} and {self.times}."
            )


@dataclass(frozen=True)
class UnlearningResult:
    """What `unlearn` returns.

    Attributes:
      params: the unlearned parameters.
      history: one row a step: losses of the method's choice ("forget_loss", "retain_loss"); with
        surgery "cosine" of the incoming update, with gradient_surgery also "applied_cosine" of the
        applied step, both with the retain gradient; "stop_metric" where a stop rule looked (NaN at
        other steps).
      seconds: the steady run with the device synchronised, `prepare` and the data's way to the
        device included, compilation not.
      compile_seconds: spent on compiling; 0 for a later request like the first, see `unlearn`.
      steps: how many were taken.
      stopped: whether the stop rule ended the run.
    """

    params: Params
    history: History
    seconds: float
    compile_seconds: float
    steps: int
    stopped: bool


def unlearn(
    model: GenerativeModel,
    params: Params,
    forget: jax.Array | np.ndarray,
    retain: jax.Array | np.ndarray,
    *,
    method: str | Method,
    key: jax.Array,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int | None = None,
    retain_batch_size: int | None = None,
    epochs: int = 1,
    guide: Callable[[jax.Array], jax.Array] | None = None,
    stop: StopRule | None = None,
    callback: Callable[[int, History], None] | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> UnlearningResult:
    """Makes `params` forget the images `forget` and keep `retain`.

    An epoch visits every image of the set that the method visits (the forget set, for most)
    exactly once, in batches of a fixed size; the last one is filled up and masked. Retained images
    are drawn beside it, without replacement until all were seen. All images stay on the device; of
    a mesh each device is given its part of every epoch's batches.

    A later request to the same model with about as many images in all compiles nothing, however
    many of them are to be forgotten (`gsu_jax.image_sets.capacity`, `gsu_jax.batches.room_for`).

    Args:
      model: the generative model.
      params: its trained parameters; not changed, not donated.
      forget: `[n, h, w, c]` images, uint8 or float in [0, 1].
      retain: the same for the images to be retained.
      method: a name (`gsu_jax.methods.METHODS`) or a method with settings of your own, such as
        `GradientSurgery(when="conflict", retain_weight=3.0)`.
      key: of all randomness in the run.
      optimizer: any optax transform, in place of the method's own.
      batch_size: images visited in a step, 128 but for a method that says otherwise; a smaller
        set shrinks it.
      retain_batch_size: retained images in a step; `batch_size` but for a method that says
        otherwise.
      epochs: passes over the visited set.
      guide: for a method that tells forgotten images by one (it has a field `guide`) and would
        else train its own: `guide(images) -> [n]`, the probability that an image shows what is to
        be forgotten, traced by `jax.jit`. Never give it the judge of the result.
      stop: an early end.
      callback: `callback(steps_done, rows)` after each epoch (after each look of `stop`), with
        the history rows since the last call.
      mesh: devices to share each step's batches over, along the mesh's first axis; along a second
        one, where it has two, parameters and optimiser state are split (`gsu_jax.placement`). The
        batch sizes must divide by the first axis.

    Returns:
      An `UnlearningResult`.

    Raises:
      ValueError, TypeError: for an argument that can't be used, named with what was found.
      OutOfMemory: a step does not fit on the device; says to what to lower the batch sizes.
    """
    method = get_method(method)
    method.check(model)
    if guide is not None:
        method = _with_guide(method, guide)
    forget, retain = check_images("forget", forget), check_images("retain", retain)
    if not isinstance(optimizer, optax.GradientTransformation | None):
        raise TypeError(f"optimizer must be an optax transform, found {optimizer!r}.")
    check_pair(forget, retain)
    start_key, order_key, step_key, stop_key = jax.random.split(key, 4)

    place = Placement(mesh)
    start = time.perf_counter()
    joined = join(forget, retain, place.devices)
    sizes, room = epoch_sizes(method, joined, epochs, batch_size, retain_batch_size, mesh)
    steps = sizes.steps * epochs
    params, start_key, step_key = place.parameters((params, start_key, step_key))
    sets = joined._replace(rows=place.rows(joined.rows))
    jax.block_until_ready((params, sets))
    run = _Run(stop, callback, stop_key, time.perf_counter() - start)
    program = _program(model, method, optimizer, room, place)
    if mesh is None:  # on a mesh, where a part leaves its arrays is up to XLA
        run.compile_seconds += program.compile(params, sets, sizes, start_key)
    carry, prepared = run.timed(program.begin, params, sets, steps, start_key)
    shared = (sets, steps, prepared, step_key)
    for epoch in range(epochs if sizes.steps else 0):
        xs = run.timed(program.order, order_key, epoch, sizes)
        if mesh is not None:
            xs = run.clocked(with_images, xs, method, joined, sizes, place)
        for first, last in _spans(sizes.steps, stop):
            carry = run.advance(program.steps, carry, xs, shared, first, last)
            if run.stopped:
                return run.result(carry[0])
    return run.result(carry[0])


def compile_ahead(
    model: GenerativeModel,
    image_shape: tuple[int, int, int],
    n_forget: int,
    n_retain: int,
    *,
    method: str | Method,
    dtype: Any = np.uint8,
    params: Params | None = None,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int | None = None,
    retain_batch_size: int | None = None,
    epochs: int = 1,
) -> float:
    """Compiles what `unlearn` will run, before the images are there.

    In a thread of its own it compiles while they are read. The numbers of images need not be right:
    a request with about as many images in all, of which others are to be forgotten, is the same
    program (`gsu_jax.image_sets.capacity`, `gsu_jax.batches.room_for`).

    Args:
      model: as for `unlearn`, which must be given the same object.
      image_shape: `(height, width, channels)`.
      n_forget: about how many images are to be forgotten.
      n_retain: about how many are to be retained.
      method: as for `unlearn`.
      dtype: of the images.
      params: parameters or their shapes; by default those of `model.init`.
      optimizer: as for `unlearn`.
      batch_size: as for `unlearn`.
      retain_batch_size: as for `unlearn`.
      epochs: as for `unlearn`; runs of several are the same program.

    Returns:
      The seconds it took; 0 where all was compiled already.
    """
    method = get_method(method)
    method.check(model)
    rows = jax.ShapeDtypeStruct((capacity(n_forget + n_retain), *image_shape), dtype)
    sets = JoinedSets(rows, n_forget, n_retain)
    sizes, room = epoch_sizes(method, sets, epochs, batch_size, retain_batch_size)
    key = jax.random.key(0)
    params, sets = on_one_device((params or jax.eval_shape(model.init, key), sets))
    program = _program(model, method, optimizer, room, Placement())
    return program.compile(params, sets, sizes, key)


def _with_guide(method: Method, guide: Callable) -> Method:
    if "guide" not in (field.name for field in fields(method)):
        raise ValueError(f"{method.name} uses no guide; leave out guide=.")
    if not callable(guide):
        raise TypeError(
            f"guide must be a function of images that gives one probability each, found {guide!r}."
        )
    return replace(method, guide=guide)


def _spans(steps: int, stop: StopRule | None) -> Iterator[tuple[int, int]]:
    every = steps if stop is None else stop.every
    for first in range(0, steps, every):
        yield first, min(first + every, steps)


class _Run:
    """The clock, the history and the stop rule of one run."""

    def __init__(self, stop, callback, key, seconds) -> None:
        self.stop, self.callback, self.key = stop, callback, key
        self.seconds, self.compile_seconds = seconds, 0.0
        self.rows: list[History] = []
        self.steps, self.held, self.stopped = 0, 0, False

    def timed(self, compiled: Compiled, *arguments: Any) -> Any:
        result, seconds, compile_seconds = timed(compiled, *arguments)
        self.seconds += seconds
        self.compile_seconds += compile_seconds
        return result

    def clocked(self, function: Callable, *arguments: Any) -> Any:
        start = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        self.seconds += time.perf_counter() - start
        return result

    def advance(
        self, steps: Compiled, carry: Any, xs: Any, shared: Any, first: int, last: int
    ) -> Any:
        carry, rows = self.timed(steps, carry, xs, shared, first, last)
        rows = {name: np.asarray(values) for name, values in rows.items()}
        self.steps += last - first
        if self.stop is not None:
            rows["stop_metric"] = np.full(last - first, np.nan)
            rows["stop_metric"][-1] = self.look(carry[0])
        self.rows.append(rows)
        if self.callback is not None:
            self.callback(self.steps, rows)
        return carry

    def look(self, params: Params) -> float:
        key = jax.random.fold_in(self.key, self.steps)
        value = float(self.timed(_metric(self.stop.metric), params, key))
        self.held = self.held + 1 if value <= self.stop.at_most else 0
        self.stopped = self.held >= self.stop.times
        return value

    def result(self, params: Params) -> UnlearningResult:
        names = self.rows[0] if self.rows else ()
        history = {name: np.concatenate([rows[name] for rows in self.rows]) for name in names}
        return UnlearningResult(
            params, history, self.seconds, self.compile_seconds, self.steps, self.stopped
        )


@lru_cache
def _metric(metric: Callable) -> Compiled:
    return jitted(metric)


class _Program(NamedTuple):
    """The compiled parts of a run: all before its first step, the order of an epoch, its steps."""

    begin: Compiled
    order: Compiled
    steps: Compiled

    def compile(self, params: Params, sets: JoinedSets, sizes: EpochSizes, key: jax.Array) -> float:
        """Compiles all parts for arguments like these, or their shapes; returns the seconds."""
        if self.begin.compiled_for(params, sets, sizes.steps, key):
            return 0.0
        if not sizes.steps:  # the method has none
            return self.begin.compile(params, sets, sizes.steps, key)
        carry, prepared = self.begin.shapes(params, sets, sizes.steps, key)
        xs = self.order.shapes(key, 0, sizes)
        shared = (sets, sizes.steps, prepared, key)
        return compile_together(
            (self.steps, (carry, xs, shared, 0, sizes.steps)),
            (self.begin, (params, sets, sizes.steps, key)),
            (self.order, (key, 0, sizes)),
        )


@lru_cache
def _program(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    room: EpochRoom,
    place: Placement,
) -> _Program:
    """Kept between runs with the same model, method and room, so that those compile nothing."""
    run = (model, method, optimizer, place)
    batches = {"batch_size": room.batch, "retain_batch_size": room.retain_batch}
    return _Program(
        jitted(partial(begin, *run)),
        jitted(partial(epoch_order, room=room)),
        stepper(partial(take_step, *run), batches=batches),
    )
