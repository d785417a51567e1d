"""What a run of a method begins with, and one step of it: `unlearn` runs one, `sweep` many."""

from numbers import Integral
from typing import Any

import jax
import numpy as np
import optax

from gsu_jax.data import Count, ForgetRetainSets, ImageSet, padded_size
from gsu_jax.methods import Batch, Method
from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import Placement, check_batch, fit_batch
from gsu_jax.unlearning._epoch import EpochShape, EpochSizes, padded_shape

Carry = tuple[Params, optax.OptState]


def epoch_sizes(
    method: Method,
    sets: ForgetRetainSets,
    epochs: int,
    batch_size: int | None = None,
    retain_batch_size: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[EpochSizes, EpochShape]:
    """The batches of an epoch of `method`, where it is asked for no others; see `unlearn`.

    Raises:
      ValueError, TypeError: a count below its least, or none at all; a batch that does not divide
        over the mesh.
    """
    _check_count("epochs", epochs, 0)
    images = visited(method, sets).count
    # Not what `method.default_batch_size` makes of them on a small set: that may be any number.
    wanted = batch_size or method.batch_size, retain_batch_size or method.retain_batch_size
    if batch_size is None:
        batch_size = method.default_batch_size(images, epochs)
    if retain_batch_size is None:
        retain_batch_size = method.retain_batch_size or batch_size
    _check_count("batch_size", batch_size, 1)
    _check_count("retain_batch_size", retain_batch_size, 1)
    for size in filter(None, wanted):
        check_batch(size, mesh)
    batch_size = fit_batch(batch_size, images, mesh)
    retain_batch_size = fit_batch(retain_batch_size, sets.n_retain, mesh)
    steps = 0 if method.visits == "nothing" else -(-images // batch_size)
    sizes = EpochSizes(images, batch_size, sets.n_retain, retain_batch_size, steps)
    return sizes, padded_shape(sizes, wanted[0], sets.images.shape[0], Placement(mesh).devices)


def visited(method: Method, sets: ForgetRetainSets) -> ImageSet:
    """The set that an epoch of `method` goes over."""
    return sets.retain if method.visits == "retain" else sets.forget


def initialize(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    place: Placement,
    params: Params,
    sets: ForgetRetainSets,
    steps: Count,
    key: jax.Array,
) -> tuple[Carry, Any]:
    """What is there before the first of `steps` steps: ((params, state), what `prepare` made)."""
    params = method.start(model, params, sets.forget, sets.retain, jax.random.fold_in(key, 0))
    prepared = method.prepare(model, params, sets.forget, sets.retain, jax.random.fold_in(key, 1))
    transform = _transform(method, optimizer, params, steps)
    return place.hold((params, transform.init(params))), prepared


def with_images(
    xs: Any, method: Method, sets: ForgetRetainSets, sizes: EpochSizes, place: Placement
) -> Any:
    """The order of an epoch with its images, a part of each batch on each device of a mesh.

    Looked up on the host, so that each process reads its part and no step has to exchange images.
    """
    xs = [np.asarray(x)[: padded_size(sizes.steps)] for x in xs]
    _, indices, _, retained = xs
    places = visited(method, sets).first + indices, sets.n_forget + retained
    return place.batches(xs) + [place.look_up(sets.images, rows) for rows in places]


def take_step(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    place: Placement,
    carry: Carry,
    x: tuple[jax.Array, ...],
    shared: tuple[ForgetRetainSets, Count, Any, jax.Array],
) -> tuple[Carry, dict[str, jax.Array]]:
    """One step: gradients, the method's optax chain, and what there is to record.

    Args:
      model: the generative model.
      method: its settings may be traced scalars where it computes with them alone.
      optimizer: what the method's chain is built around; None for the method's own.
      place: where the carry lies, before and after.
      carry: parameters and optimiser state.
      x: of this step, as `gsu_jax.unlearning.epoch_order` has it; and maybe the visited and the
        retained images themselves, which else are looked up here.
      shared: both sets, the steps of the whole run, what `prepare` made, and the key of all steps.
    """
    params, state = carry
    number, indices, mask, retained, *images = x
    sets, steps, prepared, key = shared
    images, retained = images or (visited(method, sets).take(indices), sets.retain.take(retained))
    batch = Batch(MaskedBatch(images, mask), indices, retained, number, number / steps)
    grads = method.gradients(model, prepared, params, batch, jax.random.fold_in(key, number))
    extra = grads.extra or {}
    updates, state = _transform(method, optimizer, params, steps).update(
        grads.updates, state, params, retain_grads=grads.retain_grads, **extra
    )
    carry = place.hold((optax.apply_updates(params, updates), state))
    return carry, grads.metrics | method.measured(state)


def _transform(
    method: Method,
    optimizer: optax.GradientTransformation | None,
    params: Params,
    steps: Count,
) -> optax.GradientTransformationExtraArgs:
    return method.transform(optimizer or method.optimizer(steps), params, steps)


def _check_count(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, found {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, found {value}.")
