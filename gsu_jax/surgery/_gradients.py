"""The two gradients that surgery needs: of forgetting, and of the retained loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.surgery._tree_checks import check_floating, leaf_paths

Params = Any
Batch = Any
Loss = Callable[[Params, Batch, jax.Array], jax.Array]


class ForgetRetainGrads(NamedTuple):
    """Both gradients in the descent convention: an optimiser subtracts them.

    Attributes:
        forget: the gradient of -loss on the forget batch, or of `forget_loss` where one was given.
        retain: the gradient of the loss on the retain batch.
        forget_loss: the loss on the forget batch (it rises as the batch is forgotten), or the value
            of the given `forget_loss` (it falls).
        retain_loss: the loss on the retain batch.
    """

    forget: Params
    retain: Params
    forget_loss: jax.Array
    retain_loss: jax.Array


def forget_retain_grads(
    loss: Loss,
    params: Params,
    forget_batch: Batch,
    retain_batch: Batch,
    key: jax.Array,
    *,
    forget_loss: Loss | None = None,
    microbatch_size: int | None = None,
) -> ForgetRetainGrads:
    """Returns the gradient that forgets one batch and the gradient that keeps another.

    Forgetting ascends the loss on the forget batch, so in the descent convention its gradient is
    -grad loss(params, forget_batch, forget_key). A `forget_loss` of your own is descended as it is.

    `forget_key, retain_key = jax.random.split(key)`; with microbatches, slice i of a batch uses
    `jax.random.fold_in(its_key, i)`.

    Args:
        loss: loss(params, batch, key) -> scalar, a mean over the batch.
        params: a tree of floating-point arrays.
        forget_batch: any tree of arrays with a leading axis.
        retain_batch: the same; its leading axis may have another length.
        key: a JAX random key.
        forget_loss: forget_loss(params, batch, key) -> scalar to descend instead of -loss.
        microbatch_size: at most this many examples at a time: the gradients of the slices are
            averaged in float32 at least. Slice i of n takes every n-th example from i on, so that a
            batch sharded over devices stays evenly spread. Equals the whole batch for a loss that
            is a mean over examples without noise. The slices run in a `lax.scan`, in which
            convolutions are slow on CPUs.

    Raises:
        TypeError: a leaf of `params` is not floating point (names the leaf).
        ValueError: a batch is empty, or its leading axis is not a multiple of `microbatch_size`.
    """
    check_floating(params, "params")
    forget_key, retain_key = jax.random.split(key)
    sides = {
        "forget_batch": (forget_loss or loss, forget_batch, forget_key),
        "retain_batch": (loss, retain_batch, retain_key),
    }
    results = []
    for name, (side_loss, batch, side_key) in sides.items():
        _check_batch(name, batch, microbatch_size)
        value_and_grad = jax.value_and_grad(side_loss)
        if microbatch_size is None:
            results.append(value_and_grad(params, batch, side_key))
        else:
            results.append(_accumulate(value_and_grad, params, batch, side_key, microbatch_size))
    (forget_value, forget), (retain_value, retain) = results
    if forget_loss is None:
        forget = jax.tree.map(jnp.negative, forget)
    return ForgetRetainGrads(forget, retain, forget_value, retain_value)


def _accumulate(value_and_grad, params: Params, batch: Batch, key: jax.Array, size: int):
    """The mean of `value_and_grad` over the slices of a batch, in the dtypes of one slice."""
    n = len(jax.tree.leaves(batch)[0]) // size

    def slices(x):
        return jnp.swapaxes(jnp.reshape(x, (size, n, *jnp.shape(x)[1:])), 0, 1)

    def wide(x):
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def add(total, numbered_slice):
        number, one = numbered_slice
        result = value_and_grad(params, one, jax.random.fold_in(key, number))
        return jax.tree.map(lambda t, x: t + wide(x) / n, total, result), None

    batches = jax.tree.map(slices, batch)
    first = jax.tree.map(lambda x: x[0], batches)
    result = jax.eval_shape(value_and_grad, params, first, key)
    zeros = jax.tree.map(lambda x: wide(jnp.zeros(x.shape, x.dtype)), result)
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(n), batches))
    return jax.tree.map(lambda t, x: t.astype(x.dtype), total, result)


def _check_batch(name: str, batch: Batch, size: int | None) -> None:
    """Raises ValueError unless the batch has examples, in slices of `size` where that is given."""
    lengths = {
        path: jnp.shape(leaf)[0] if jnp.ndim(leaf) else None
        for path, leaf in zip(leaf_paths(batch), jax.tree.leaves(batch), strict=True)
    }
    if not lengths or 0 in lengths.values():
        raise ValueError(f"{name} is empty: it has no example to take a gradient of")
    if size is None:
        return
    if len(set(lengths.values())) > 1 or None in lengths.values():
        raise ValueError(
            f"microbatch_size slices the leading axis, but the leaves of {name} differ in it: "
            f"{lengths}"
        )
    (length,) = set(lengths.values())
    if size < 1 or length % size:
        raise ValueError(
            f"microbatch_size {size} does not divide the {length} examples of {name}; give a "
            "divisor, or a batch that is a multiple of it"
        )
