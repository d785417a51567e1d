"""How a run of a method starts, and one step of it."""

from typing import Any, NamedTuple

import jax
import optax

from gsu_jax.checks import at_least, integer
from gsu_jax.data import Count, ForgetRetainSets, number_of, scale_examples
from gsu_jax.methods import Batch, Method
from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import Placement, take_rows
from gsu_jax.unlearning._epoch import EpochShape, EpochSizes, StepInputs, padded_shape

Carry = tuple[Params, optax.OptState]


class RunConstants(NamedTuple):
    """What is the same in all steps of a run.

    Attributes:
        images: From `gather_images`.
        steps: The steps of the whole run.
        prepared: What `Method.prepare` computed.
        key: The key of all steps.
        kept: The examples among which the retained ones are, if they are not among `images`.
    """

    images: Any
    steps: Count
    prepared: Any
    key: jax.Array
    kept: Any = None


def epoch_sizes(
    method: Method,
    sets: ForgetRetainSets,
    epochs: int,
    place: Placement,
    batch_size: int | None = None,
    retain_batch_size: int | None = None,
) -> tuple[EpochSizes, EpochShape]:
    """Returns the sizes of an epoch of `method` and its padded shapes; see `unlearn`.

    Raises:
        TypeError: A count is not an integer.
        ValueError: A count is too small, or the devices do not divide a batch.
    """
    integer(epochs=epochs)
    at_least(0, epochs=epochs)
    visited = sets.retain if method.visits == "retain" else sets.forget
    # Not the method's own default for a small set, which may be any number.
    wanted = batch_size or method.batch_size, retain_batch_size or method.retain_batch_size
    if batch_size is None:
        batch_size = method.default_batch_size(visited.count, epochs)
    if retain_batch_size is None:
        retain_batch_size = method.retain_batch_size or batch_size
    integer(batch_size=batch_size, retain_batch_size=retain_batch_size)
    at_least(1, batch_size=batch_size, retain_batch_size=retain_batch_size)
    for size in filter(None, wanted):
        place.check_batch(size)
    batch_size = place.fit_batch(batch_size, visited.count)
    retain_batch_size = place.fit_batch(retain_batch_size, sets.n_retain)
    steps = 0 if method.visits == "nothing" else -(-visited.count // batch_size)
    sizes = EpochSizes(
        visited.count,
        batch_size,
        sets.n_retain,
        retain_batch_size,
        steps,
        visited.first,
        sets.retain.first,
    )
    return sizes, padded_shape(sizes, wanted[0], number_of(sets.images), place.devices)


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
    """Returns the initial carry (params, optimizer state) and the method's precomputed arrays.

    Args:
        model: The generative model.
        method: Its settings may be traced scalars if it only computes with them.
        optimizer: What the method's optax chain is built around; None for the method's own.
        place: Where the carry lies.
        params: The trained parameters.
        sets: The images to forget and to retain.
        steps: The steps of the whole run.
        key: The key of `Method.start` and `Method.prepare`.
    """
    params = method.start(model, params, sets.forget, sets.retain, jax.random.fold_in(key, 0))
    prepared = method.prepare(model, params, sets.forget, sets.retain, jax.random.fold_in(key, 1))
    transform = _transform(method, optimizer, params, steps)
    return place.constrain((params, transform.init(params))), prepared


def take_step(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    place: Placement,
    carry: Carry,
    inputs: StepInputs,
    constants: RunConstants,
) -> tuple[Carry, dict[str, jax.Array]]:
    """Takes one step: the method's gradients through its optax chain.

    Args:
        model: The generative model.
        method: As for `initialize`.
        optimizer: As for `initialize`.
        place: As for `initialize`.
        carry: Parameters and optimizer state.
        inputs: The inputs of this step.
        constants: What is the same in all steps.

    Returns:
        The next carry, and scalars for the history.
    """
    params, state = carry
    kept = constants.images if constants.kept is None else constants.kept
    visited = scale_examples(take_rows(constants.images, inputs.visited))
    retained = scale_examples(take_rows(kept, inputs.retained))
    batch = Batch(
        MaskedBatch(visited, inputs.mask),
        inputs.indices,
        retained,
        inputs.number,
        inputs.number / constants.steps,
    )
    step_key = jax.random.fold_in(constants.key, inputs.number)
    grads = method.gradients(model, constants.prepared, params, batch, step_key)
    extra = grads.extra or {}
    updates, state = _transform(method, optimizer, params, constants.steps).update(
        grads.updates, state, params, retain_grads=grads.retain_grads, **extra
    )
    carry = place.constrain((optax.apply_updates(params, updates), state))
    return carry, grads.metrics | method.measured(state)


def _transform(
    method: Method,
    optimizer: optax.GradientTransformation | None,
    params: Params,
    steps: Count,
) -> optax.GradientTransformationExtraArgs:
    return method.transform(optimizer or method.optimizer(steps), params, steps)
