"""Which images each step of an epoch sees."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.data import Count, ForgetRetainSets, padded_size, random_order
from gsu_jax.runtime import Placement


class EpochSizes(NamedTuple):
    """The sizes of an epoch; all but `retain_batch` may be traced, see `EpochShape`.

    Attributes:
        visited: The images in the visited set.
        batch: The visited images in a step.
        retained: The images in the retain set.
        retain_batch: The retained images in a step.
        steps: The steps in an epoch.
        first_visited: The row of the first visited image in the array of all images.
        first_retained: The row of the first retained image.
    """

    visited: Count
    batch: Count
    retained: Count
    retain_batch: int
    steps: Count
    first_visited: Count = 0
    first_retained: Count = 0


class EpochShape(NamedTuple):
    """The padded shapes of an epoch's arrays, which serve epochs of several `EpochSizes`.

    Attributes:
        steps: The rows of the arrays, a bound of the number of steps.
        batch: The columns for visited images, some of them masked.
        retain_batch: The columns for retained images.
        images: A bound of the images in either set.
    """

    steps: int
    batch: int
    retain_batch: int
    images: int


class StepInputs(NamedTuple):
    """What differs from step to step. The inputs of a loop have a leading axis of steps.

    Attributes:
        number: The number of the step in the run, from 0.
        indices: `[batch]`, the places of the visited images in their set.
        mask: `[batch]`, 0 for padding.
        visited: `[batch]`, the rows of the visited images in the array of all images. On a mesh,
            `gather_images` replaces them by the images.
        retained: `[retain_batch]`, the same for the retained images.
    """

    number: jax.Array
    indices: jax.Array
    mask: jax.Array
    visited: jax.Array
    retained: jax.Array


def padded_shape(sizes: EpochSizes, batch_size: int, images: int, devices: int = 1) -> EpochShape:
    """Returns shapes that serve an epoch of `sizes` and those of sets with a similar batch.

    A batch that a small set shrank below `batch_size` is padded to the next power of two, then to
    a multiple of the devices. Steps are padded to 256, or to the next power of two.

    Args:
        sizes: The sizes of the epoch, not traced.
        batch_size: The batch size before a small set shrinks it.
        images: A bound of the images in either set.
        devices: The number of devices that share a batch.

    Example:
        >>> sizes = EpochSizes(visited=90, batch=90, retained=500, retain_batch=128, steps=1)
        >>> padded_shape(sizes, batch_size=128, images=640)
        EpochShape(steps=256, batch=128, retain_batch=128, images=640)
    """
    batch = max(min(batch_size, _power_of_two(sizes.batch)), sizes.batch)
    batch = -(-batch // devices) * devices
    steps = max(256, _power_of_two(sizes.steps))
    return EpochShape(steps, batch, sizes.retain_batch, images)


def epoch_order(
    key: jax.Array, epoch: jax.Array | int, sizes: EpochSizes, shape: EpochShape
) -> StepInputs:
    """Draws the order of one epoch.

    Every image of the visited set is visited once. Padding columns are spread evenly over a step
    and, like the end of the last step, hold masked images of the set. Rows from `sizes.steps` on
    are padding. Retained images are sampled without replacement; a new permutation starts when
    one is exhausted.

    Args:
        key: The key of the order of all epochs.
        epoch: The number of the epoch, from 0.
        sizes: The sizes of the epoch, traced or not.
        shape: The padded shapes.

    Returns:
        The inputs of all steps, with a leading axis of `shape.steps`.
    """
    visit_key, retain_key = jax.random.split(jax.random.fold_in(key, epoch))
    step = jnp.arange(shape.steps)
    # Column c holds the image ceil(c batch / columns) of its step if no column before it does.
    place = -(-jnp.arange(shape.batch + 1) * sizes.batch // shape.batch)
    place, is_image = place[:-1], place[1:] > place[:-1]
    place = step[:, None] * sizes.batch + place
    indices = random_order(visit_key, sizes.visited, shape.images)[place % sizes.visited]
    mask = (is_image & (place < sizes.visited)).astype(jnp.float32)
    drawn = step[:, None] * shape.retain_batch + jnp.arange(shape.retain_batch)
    retained = _permutations(retain_key, sizes.retained, drawn.size, shape.images)[drawn]
    return StepInputs(
        epoch * sizes.steps + step,
        indices,
        mask,
        sizes.first_visited + indices,
        sizes.first_retained + retained,
    )


def gather_images(
    order: StepInputs,
    on_host: ForgetRetainSets,
    on_device: ForgetRetainSets,
    steps: int,
    place: Placement,
) -> tuple[Any, StepInputs]:
    """Prepares the images of an epoch for its steps; see `Placement.gather`.

    Args:
        order: From `epoch_order`.
        on_host: The images on the host.
        on_device: The same images on the devices.
        steps: The steps in the epoch.
        place: Where the steps run.

    Returns:
        `RunConstants.images` and the inputs of the steps.
    """
    data, length = {"data": on_host.images, "on_device": on_device.images}, padded_size(steps)
    images, visited = place.gather(indices=order.visited, steps=length, **data)
    images, retained = place.gather(indices=order.retained, steps=length, **data)
    placed = place.batches(order._replace(visited=None, retained=None), length)
    return images, placed._replace(visited=visited, retained=retained)


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()


def _permutations(key: jax.Array, count: Count, length: int, images: int) -> jax.Array:
    """`[length]`: one random permutation of the numbers below `count` after another."""
    place = jnp.arange(length + images)  # so that the last permutation is whole
    bits = jax.random.bits(key, place.shape)
    return (jax.lax.sort((place // count, bits, place), num_keys=2)[-1] % count)[:length]
