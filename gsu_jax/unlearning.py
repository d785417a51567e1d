"""`unlearn`: the one loop that runs every method."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from gsu_jax.batches import EpochSizes, epoch_order, placement
from gsu_jax.compiled import Compiled, jitted, timed
from gsu_jax.generative import GenerativeModel, Params, check_images
from gsu_jax.methods import Method, get_method
from gsu_jax.stepping import stepper
from gsu_jax.unlearning_step import begin, epoch_sizes, take_step

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
      compile_seconds: spent on compiling; 0 for a second run of the same shapes.
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
    are drawn beside it, without replacement until all were seen. All images stay on the device.

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
      mesh: devices to share each step's batches over (data parallel, along the mesh's first axis);
        parameters and images are held on all of them. The batch sizes must divide by that axis; a
        smaller batch that a method takes of a small set is not shared where it does not divide.

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
    sizes = epoch_sizes(method, forget, retain, epochs, batch_size, retain_batch_size, mesh)
    start_key, order_key, step_key, stop_key = jax.random.split(key, 4)

    place = placement(mesh)
    start = time.perf_counter()
    params, forget, retain = jax.block_until_ready(place((params, forget, retain)))
    run = _Run(stop, callback, stop_key, time.perf_counter() - start)
    program = _program(model, method, optimizer, sizes, epochs)
    carry, prepared = run.timed(program.prepare, params, forget, retain, start_key)
    shared = (forget, retain, prepared, step_key)
    for epoch in range(epochs if sizes.steps else 0):
        xs = run.timed(_order(sizes), order_key, epoch)
        for chunk in _chunks(place(xs, batched=True), sizes.steps, stop):
            carry = run.advance(program.steps, carry, chunk, shared)
            if run.stopped:
                return run.result(carry[0])
    return run.result(carry[0])


def _with_guide(method: Method, guide: Callable) -> Method:
    if "guide" not in (field.name for field in fields(method)):
        raise ValueError(f"{method.name} uses no guide; leave out guide=.")
    if not callable(guide):
        raise TypeError(
            f"guide must be a function of images that gives one probability each, found {guide!r}."
        )
    return replace(method, guide=guide)


def _chunks(xs: Any, steps: int, stop: StopRule | None) -> Iterator[Any]:
    every = steps if stop is None else stop.every
    for first in range(0, steps, every):
        yield jax.tree.map(lambda x, first=first: x[first : first + every], xs)


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

    def advance(self, steps: Compiled, carry: Any, chunk: Any, shared: Any) -> Any:
        carry, rows = self.timed(steps, carry, chunk, shared)
        rows = {name: np.asarray(values) for name, values in rows.items()}
        self.steps += len(chunk[0])
        if self.stop is not None:
            rows["stop_metric"] = np.full(len(chunk[0]), np.nan)
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
    """The compiled parts of a run: what comes before its first step, and the steps."""

    prepare: Compiled
    steps: Compiled


@lru_cache
def _program(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    sizes: EpochSizes,
    epochs: int,
) -> _Program:
    """Kept between runs with the same model, method and sizes, so that those compile nothing."""
    steps = sizes.steps * epochs
    optimizer = optimizer or method.optimizer(steps)

    run = (model, method, optimizer, steps)
    batches = {"batch_size": sizes.batch, "retain_batch_size": sizes.retain_batch}
    take = stepper(partial(take_step, *run), batches=batches)
    return _Program(jitted(partial(begin, *run)), take)


@lru_cache
def _order(sizes: EpochSizes) -> Compiled:
    return jitted(partial(epoch_order, sizes=sizes))
