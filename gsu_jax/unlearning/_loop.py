"""`unlearn`: the one loop that runs every method."""

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np
import optax

from gsu_jax.data import ForgetRetainSets, check_images, check_pair, concatenate, padded_size
from gsu_jax.methods import Method, get_method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import Placement, on_one_device
from gsu_jax.unlearning._program import program_of
from gsu_jax.unlearning._result import History, StopRule, UnlearningResult
from gsu_jax.unlearning._run import Run
from gsu_jax.unlearning._step import epoch_sizes, with_images


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
    many of them are to be forgotten (`gsu_jax.data.padded_size`).

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
        one, where it has two, parameters and optimiser state are split (`gsu_jax.runtime`). The
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
    forget, retain = check_images(forget, "forget"), check_images(retain, "retain")
    if not isinstance(optimizer, optax.GradientTransformation | None):
        raise TypeError(f"optimizer must be an optax transform, found {optimizer!r}.")
    check_pair(forget, retain)
    start_key, order_key, step_key, stop_key = jax.random.split(key, 4)

    place = Placement(mesh)
    start = time.perf_counter()
    joined = concatenate(forget, retain, place.devices)
    sizes, room = epoch_sizes(method, joined, epochs, batch_size, retain_batch_size, mesh)
    steps = sizes.steps * epochs
    params, start_key, step_key = place.parameters((params, start_key, step_key))
    sets = joined._replace(images=place.rows(joined.images))
    jax.block_until_ready((params, sets))
    run = Run(stop, callback, stop_key, time.perf_counter() - start)
    program = program_of(model, method, optimizer, room, place)
    if mesh is None:  # on a mesh, where a part leaves its arrays is up to XLA
        run.compile_seconds += program.compile(params, sets, sizes, start_key)
    carry, prepared = run.timed(program.initialize, params, sets, steps, start_key)
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
    program (`gsu_jax.data.padded_size`, `gsu_jax.unlearning.padded_shape`).

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
    images = jax.ShapeDtypeStruct((padded_size(n_forget + n_retain), *image_shape), dtype)
    sets = ForgetRetainSets(images, n_forget, n_retain)
    sizes, room = epoch_sizes(method, sets, epochs, batch_size, retain_batch_size)
    key = jax.random.key(0)
    params, sets = on_one_device((params or jax.eval_shape(model.init, key), sets))
    program = program_of(model, method, optimizer, room, Placement())
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
