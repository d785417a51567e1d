"""Which images each step of an epoch sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.data import Count, random_order


class EpochSizes(NamedTuple):
    """How many images there are to visit and to retain, how many a step sees, and the steps.

    `visited`, `batch`, `retained` and `steps` may be traced; see `EpochRoom`.
    """

    visited: Count
    batch: Count
    retained: Count
    retain_batch: int
    steps: Count


class EpochShape(NamedTuple):
    """The shapes of an epoch's arrays, in which there is room for epochs of several `EpochSizes`.

    Attributes:
      steps: rows of the arrays, a bound of the number of steps.
      batch: columns: a step's visited images, with room for masked ones.
      retain_batch: a step's retained images.
      images: a bound of the images in either set.
    """

    steps: int
    batch: int
    retain_batch: int
    images: int


def padded_shape(sizes: EpochSizes, batch_size: int, images: int, devices: int = 1) -> EpochShape:
    """Room for an epoch of `sizes`, and for those of all sets with a like batch.

    A batch that a small set shrank below `batch_size` has the next power of two of columns (or
    the next multiple of the devices), so that at most half of them are masked; rows there are 256,
    or the next power of two.
    """
    batch = max(min(batch_size, _power_of_two(sizes.batch)), sizes.batch)
    batch = -(-batch // devices) * devices
    steps = max(256, _power_of_two(sizes.steps))
    return EpochShape(steps, batch, sizes.retain_batch, images)


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()


def epoch_order(
    key: jax.Array, epoch: jax.Array, sizes: EpochSizes, room: EpochShape
) -> tuple[jax.Array, ...]:
    """For each step: its number, the images it visits with their mask, and the retained ones.

    Every image is visited once: the columns that hold no image of a step, spread evenly over it,
    and the end of the last step are filled up with images of the set, masked 0. Rows from
    `sizes.steps` on are room. Retained images come from one random order after another: none twice
    before all were drawn.

    Returns:
      The numbers `[steps]`, indices and mask `[steps, batch]`, retained `[steps, retain_batch]`.
    """
    visited, batch, retained, _, steps = sizes
    visit_key, retain_key = jax.random.split(jax.random.fold_in(key, epoch))
    step = jnp.arange(room.steps)
    # Column c holds the image ceil(c batch / columns) of its step, where c is the first to do so.
    place = -(-jnp.arange(room.batch + 1) * batch // room.batch)
    place, holds = place[:-1], place[1:] > place[:-1]
    place = step[:, None] * batch + place
    indices = random_order(visit_key, visited, room.images)[place % visited]
    mask = (holds & (place < visited)).astype(jnp.float32)
    drawn = step[:, None] * room.retain_batch + jnp.arange(room.retain_batch)
    retain = _again_and_again(retain_key, retained, drawn.size, room.images)[drawn]
    return epoch * steps + step, indices, mask, retain


def _again_and_again(key: jax.Array, count: Count, length: int, room: int) -> jax.Array:
    """`[length]`: the numbers below `count` in a random order, again in another, and so on."""
    place = jnp.arange(length + room)  # the last pass through them is whole
    bits = jax.random.bits(key, place.shape)
    return (jax.lax.sort((place // count, bits, place), num_keys=2)[-1] % count)[:length]
