"""Retained examples from an iterator of batches, for a set larger than memory."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.data import Examples, check_examples, is_images, number_of
from gsu_jax.methods import Method
from gsu_jax.unlearning._epoch import StepInputs
from gsu_jax.unlearning._step import RunConstants

SAMPLE = 2048  # examples for what a method computes before its first step
CHUNK = 16  # steps whose batches are on the device at a time


class RetainStream:
    """Batches of retained examples, pulled when they are needed.

    Attributes:
        sample: The examples of the first batches, about `SAMPLE`. A method computes from them what
            it needs before its first step; the steps see them too.
        batch_size: The number of examples in a batch.

    Raises:
        ValueError: The iterator is empty, or its batches differ in shape.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches, self._pulled = iter(batches), 0
        self._shape: Any = None
        first = self._pull()
        if first is None:
            raise ValueError("retain is an empty iterator; expected batches of examples")
        self.batch_size = number_of(first)
        more = (self._pull() for _ in range(-(-SAMPLE // self.batch_size) - 1))
        head = [first, *itertools.takewhile(lambda batch: batch is not None, more)]
        self.sample = _concatenate(head)
        self._head = iter(head)

    @property
    def like_chunk(self) -> Examples:
        """The shapes and dtypes of the examples of a chunk."""
        n = CHUNK * self.batch_size
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype), self.sample)

    def feed(
        self, constants: RunConstants, inputs: StepInputs, first: int, last: int
    ) -> tuple[RunConstants, StepInputs]:
        """Puts the batches of steps `first` to `last - 1` of an epoch on the device."""
        batches = [self._next(last - step) for step in range(first, last)]
        examples = _concatenate(batches + batches[:1] * (CHUNK - len(batches)))
        step = np.maximum(np.arange(len(inputs.retained)) - first, 0) % CHUNK
        rows = step[:, None] * self.batch_size + np.arange(self.batch_size)
        kept, rows = jax.tree.map(jnp.asarray, (examples, rows.astype(inputs.retained.dtype)))
        return constants._replace(kept=kept), inputs._replace(retained=rows)

    def _next(self, missing: int) -> Examples:
        batch = next(self._head, None)
        batch = self._pull() if batch is None else batch
        if batch is None:
            raise ValueError(
                f"retain ended after {self._pulled} batches, and the run needs at least {missing} "
                "more; repeat the data, for instance grain.MapDataset.repeat() or itertools.cycle"
            )
        return batch

    def _pull(self) -> Examples | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        batch = check_examples(batch, f"retain, batch {self._pulled}")
        # A loader may fill one buffer again and again.
        batch = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else np.array(x), batch)
        shape = jax.tree.structure(batch), jax.tree.map(lambda x: (np.shape(x), x.dtype), batch)
        if self._shape not in (None, shape):
            raise ValueError(
                f"retain: all batches must have one shape, got {self._shape[1]} and then "
                f"{shape[1]} in batch {self._pulled}; drop the last, incomplete batch"
            )
        self._shape, self._pulled = shape, self._pulled + 1
        return batch


def is_stream(retain: Any) -> bool:
    """Returns whether `retain` is an iterator of batches, not arrays.

    Raises:
        TypeError: It is something that can be iterated, such as a data set or a loader.
    """
    if isinstance(retain, Iterator):
        return not is_images(retain)
    is_leaf = jax.tree.structure(retain) == jax.tree.structure(0)
    if (
        is_leaf
        and not is_images(retain)
        and (hasattr(retain, "__iter__") or hasattr(retain, "__getitem__") or callable(retain))
    ):
        fix = "the iterator that it returns" if callable(retain) else "iter(retain)"
        raise TypeError(
            f"retain must be arrays or an iterator of batches, got {type(retain).__name__}; give "
            f"{fix}"
        )
    return False


def check_stream(method: Method, mesh: Any, retain_batch_size: int | None) -> None:
    """Raises ValueError for what does not go together with an iterator of batches."""
    if method.visits == "retain":
        raise ValueError(
            f"retain must be an array for {method.name}, which visits every retained example in an "
            "epoch, got an iterator"
        )
    if mesh is not None:
        raise ValueError("retain must be an array on a mesh, got an iterator; leave mesh out")
    if retain_batch_size is not None:
        raise ValueError(
            f"retain_batch_size must be left out, since the iterator retain has batches of its "
            f"own, got {retain_batch_size}"
        )


def _concatenate(batches: list[Examples]) -> Examples:
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(x) for x in leaves]), *batches)
