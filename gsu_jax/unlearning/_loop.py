"""`unlearn`: the one loop that runs every method."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import optax

from gsu_jax.data import (
    Examples,
    ForgetRetainSets,
    concatenate,
    padded_size,
    scale_examples,
)
from gsu_jax.methods import Method, check_method, get_method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import Placement, Stopwatch, explain_out_of_memory, on_one_device
from gsu_jax.unlearning._arguments import (
    check_loss,
    check_run,
    check_sets,
    warn_of_few_steps,
    warn_of_lost_run,
)
from gsu_jax.unlearning._epoch import gather_images
from gsu_jax.unlearning._program import program_of
from gsu_jax.unlearning._recorder import Recorder
from gsu_jax.unlearning._result import Callback, StopRule, UnlearningResult
from gsu_jax.unlearning._retain_stream import CHUNK, RetainStream, check_stream, is_stream
from gsu_jax.unlearning._step import RunConstants, epoch_sizes


def unlearn(
    model: GenerativeModel,
    params: Params,
    forget: Examples,
    retain: Examples | Iterator[Examples],
    *,
    method: str | Method,
    key: jax.Array,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int | None = None,
    retain_batch_size: int | None = None,
    epochs: int = 1,
    guide: Callable[[jax.Array], jax.Array] | None = None,
    stop: StopRule | None = None,
    callback: Callback | None = None,
    callback_every: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> UnlearningResult:
    """Makes a model forget the examples `forget` and keep the examples `retain`.

    An example is what the model was trained on: an image, or any pytree of arrays with one leading
    axis, such as `{"image": images, "label": labels}`. The model's functions get batches of the
    same structure, in which uint8 images are floats in [0, 1].

    An epoch visits every example of the visited set, for most methods the forget set, exactly once,
    in batches of a fixed size; the last batch is padded and masked. Each batch comes with retained
    examples, sampled without replacement until all were seen. All examples stay on the device,
    unless `retain` is an iterator. On a mesh, each device gets its share of every batch.

    A later request to the same model with about as many images in total compiles nothing, whatever
    the number of images to forget (`gsu_jax.data.padded_size`). Compiled programs are kept in
    `gsu_jax.runtime.ProgramCache`.

    Args:
        model: The generative model.
        params: Its trained parameters; neither changed nor donated.
        forget: `[n, h, w, c]` images, uint8 or float in [0, 1]; or another pytree of arrays
            `[n, ...]`, which is not checked for range and needs a method that works from the loss
            alone.
        retain: The examples to retain, in the same form; or an iterator of batches of them, all of
            one size, for a set larger than memory. A method that computes something before its
            first step then sees about 2,048 examples of the first batches.
        method: A name from `gsu_jax.methods.METHODS`, or a method with settings of your own, such
            as `GradientSurgery(when="conflict", retain_weight=3.0)`.
        key: The key of all randomness in the run.
        optimizer: An optax transform that replaces the method's own.
        batch_size: The visited images in a step; by default the method's choice, for most 128. A
            smaller set shrinks it.
        retain_batch_size: The retained images in a step; by default the method's choice, for most
            `batch_size`.
        epochs: The number of passes over the visited set.
        guide: `guide(images) -> [n]`, the probability that an image shows what is to be forgotten,
            traced by `jax.jit`. Only for a method with a field `guide`, which otherwise trains its
            own. Never pass the judge of the result.
        stop: A rule that ends the run early.
        callback: `callback(steps_done, history, params)`, called after each epoch and each check of
            `stop`, with the history since the last call and the parameters of that moment. The run
            ends if it returns True.
        callback_every: Calls `callback` also every so many steps of an epoch.
        mesh: Devices that share each batch along the first axis of the mesh. A second axis splits
            parameters and optimizer state. The first axis must divide the batch sizes.

    Returns:
        An `UnlearningResult`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong value, the model lacks what the method needs, or the
            iterator `retain` ends before the run.
        OutOfMemory: The run does not fit on the device; says to what to lower the batch sizes.

    Warns:
        UserWarning: Examples of `forget` are also in `retain`.

    Example:
        >>> import jax.numpy as jnp
        >>> model = GenerativeModel(
        ...     init=lambda key: jnp.zeros(()),
        ...     loss=lambda params, images, key: (params - images.mean()) ** 2,
        ...     sample=lambda params, key, n: jnp.full((n, 2, 2, 1), params),
        ... )
        >>> result = unlearn(
        ...     model, jnp.float32(0.5), np.ones((4, 2, 2, 1)), np.zeros((8, 2, 2, 1)),
        ...     method="gradient_ascent", key=jax.random.key(0), batch_size=2,
        ... )
        >>> result.steps, bool(result.params < 0.5)
        (2, True)
    """
    method = _with_guide(check_run(model, params, method, key, optimizer), guide)
    stream = None
    if is_stream(retain):
        check_stream(method, mesh, retain_batch_size)
        stream = RetainStream(retain)
        retain, retain_batch_size = stream.sample, stream.batch_size
    forget, retain = check_sets(method, forget, retain)
    start_key, order_key, step_key, stop_key = jax.random.split(key, 4)

    place, stopwatch = Placement(mesh), Stopwatch()
    with stopwatch.measure():
        joined = concatenate(forget, retain, place.devices)
        sizes, shape = epoch_sizes(method, joined, epochs, place, batch_size, retain_batch_size)
    steps = sizes.steps * epochs
    warn_of_few_steps(method, steps)
    recorder = Recorder(stop, callback, callback_every, stop_key, stopwatch)
    ends = recorder.ends(sizes.steps)
    if stream is not None:
        ends = sorted({*ends, *range(CHUNK, sizes.steps, CHUNK)})
    with explain_out_of_memory(batch_size=shape.batch, retain_batch_size=shape.retain_batch):
        with stopwatch.measure():
            params, start_key, step_key = place.parameters((params, start_key, step_key))
            sets = joined._replace(images=place.images(joined.images))
            jax.block_until_ready((params, sets))

        program = program_of(model, method, optimizer, shape, place)
        if not program.is_compiled(params, sets, sizes, start_key):
            two = scale_examples(jax.tree.map(lambda x: x[:2], forget))
            check_loss(model, params, two, key)
        kept = None if stream is None else stream.like_chunk
        stopwatch.compile_seconds += program.compile(params, sets, sizes, start_key, kept)

        carry, prepared = stopwatch.run(program.initialize, params, sets, steps, start_key)
        for epoch in range(epochs if sizes.steps else 0):
            order = stopwatch.run(program.order, order_key, epoch, sizes)
            with stopwatch.measure():
                images, inputs = gather_images(order, joined, sets, sizes.steps, place)
                jax.block_until_ready(inputs)
            constants = RunConstants(images, steps, prepared, step_key)
            for first, last in pairwise([0, *ends]):
                if stream is not None:
                    with stopwatch.measure():
                        constants, inputs = stream.feed(constants, inputs, first, last)
                carry, history = stopwatch.run(program.steps, carry, inputs, constants, first, last)
                recorder.record(carry[0], history, first, last)
                if recorder.stopped:
                    break
            if recorder.stopped:
                break
    result = recorder.result(carry[0])
    warn_of_lost_run(method, result.history, result.params)
    return result


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
    """Compiles what `unlearn` will run, for instance in a thread while the images are read.

    The numbers of images need not be exact: a request with about as many images in total uses the
    same program (`gsu_jax.data.padded_size`, `gsu_jax.unlearning.EpochShape`).

    Args:
        model: The object that `unlearn` will get.
        image_shape: `(height, width, channels)`.
        n_forget: The approximate number of images to forget.
        n_retain: The approximate number of images to retain.
        method: As for `unlearn`.
        dtype: The dtype of the images.
        params: Parameters or their shapes; by default those of `model.init`.
        optimizer: As for `unlearn`.
        batch_size: As for `unlearn`.
        retain_batch_size: As for `unlearn`.
        epochs: As for `unlearn`; any number uses the same program.

    Returns:
        The seconds, 0 if everything was compiled.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong value, or the model lacks what the method needs.
        OutOfMemory: The run does not fit on the device; says to what to lower the batch sizes.
    """
    method = get_method(method)
    check_method(method, model)
    images = jax.ShapeDtypeStruct((padded_size(n_forget + n_retain), *image_shape), dtype)
    sets, place, key = ForgetRetainSets(images, n_forget, n_retain), Placement(), jax.random.key(0)
    sizes, shape = epoch_sizes(method, sets, epochs, place, batch_size, retain_batch_size)
    params, sets = on_one_device((params or jax.eval_shape(model.init, key), sets))
    with explain_out_of_memory(batch_size=shape.batch, retain_batch_size=shape.retain_batch):
        return program_of(model, method, optimizer, shape, place).compile(params, sets, sizes, key)


def _with_guide(method: Method, guide: Callable | None) -> Method:
    if guide is None:
        return method
    if "guide" not in (field.name for field in fields(method)):
        raise ValueError(f"guide is not used by {method.name}; leave it out")
    if not callable(guide):
        raise TypeError(
            f"guide must be a function that maps images to one probability each, got {guide!r}"
        )
    return replace(method, guide=guide)
