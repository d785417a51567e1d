"""The two gradients that surgery needs: of forgetting, and of the retained loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsu_jax.checks import at_least
from gsu_jax.surgery._leaves import accumulator
from gsu_jax.surgery._module_recipes import NNX_RECIPE
from gsu_jax.surgery._tree_checks import Tree, check_floating, leaf_paths

# loss(params, batch, key) -> scalar, or (scalar, aux)
KeyedLoss = Callable[[Tree, Tree, jax.Array], Any]


class ForgetRetainGrads(NamedTuple):
    """Both gradients, in the descent convention: an optimizer subtracts them.

    Attributes:
        forget: The gradient of -loss on the forget batch, or of `forget_loss` if that was given.
        retain: The gradient of the loss on the retain batch.
        forget_loss: The loss on the forget batch, which rises as the batch is forgotten; or the
            value of the given `forget_loss`, which falls.
        retain_loss: The loss on the retain batch.
        forget_aux: With `has_aux=True`, what the loss returned beside its value on the forget
            batch, such as batch statistics; else None.
        retain_aux: The same on the retain batch.
    """

    forget: Tree
    retain: Tree
    forget_loss: jax.Array
    retain_loss: jax.Array
    forget_aux: Any = None
    retain_aux: Any = None


def forget_retain_grads(
    loss: KeyedLoss,
    params: Tree,
    forget_batch: Tree,
    retain_batch: Tree,
    key: jax.Array,
    *,
    forget_loss: KeyedLoss | None = None,
    microbatch_size: int | None = None,
    has_aux: bool = False,
) -> ForgetRetainGrads:
    """Returns the gradient that forgets one batch and the gradient that retains another.

    Forgetting ascends the loss on the forget batch. In the descent convention, its gradient is
    -grad loss(params, forget_batch, forget_key). A custom `forget_loss` is descended.

    The keys are `forget_key, retain_key = jax.random.split(key)`. With microbatches, slice i of a
    batch uses `jax.random.fold_in(its_key, i)`.

    Args:
        loss: `loss(params, batch, key) -> scalar`, a mean over the batch.
        params: A tree of floating-point arrays.
        forget_batch: A tree of arrays with a leading axis.
        retain_batch: A tree of arrays with a leading axis, of the same or another length.
        key: A JAX random key.
        forget_loss: `forget_loss(params, batch, key) -> scalar`, to descend instead of -loss.
        microbatch_size: The number of examples per slice. The gradients of the slices are averaged
            in float32 at least. Slice i of n takes every n-th example from i on, so that a batch
            sharded over devices stays evenly spread. The result equals that of the whole batch if
            the loss is a mean over examples without noise. The slices run in a `lax.scan`, in which
            convolutions are slow on CPUs.
        has_aux: Whether the losses return `(value, aux)`, with any tree as aux, as in `jax.grad`.
            Not with `microbatch_size`: how the aux of several slices combine, only you know.

    Returns:
        Both gradients and both losses; with `has_aux`, also what the losses returned beside them.

    Raises:
        TypeError: A leaf of `params` is not floating point (names the leaf), or a loss returns a
            pair without `has_aux` or none with it.
        ValueError: A batch is empty, `microbatch_size` does not divide its leading axis, or
            `microbatch_size` and `has_aux` are both given.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss(params, batch, key):
        ...     return jnp.mean((params - batch) ** 2)
        >>> forget, retain = jnp.array([1.0, 3.0]), jnp.array([-1.0])
        >>> grads = forget_retain_grads(loss, jnp.zeros(()), forget, retain, jax.random.key(0))
        >>> float(grads.forget), float(grads.retain)
        (4.0, 2.0)
    """
    check_floating(params, "params")
    if has_aux and microbatch_size is not None:
        raise ValueError(
            f"has_aux=True does not go with microbatch_size, got {microbatch_size}: how the aux of "
            "several slices combine, only you know. Call forget_retain_grads for each slice, and "
            "accumulate both gradients with gsu_jax.multi_steps"
        )
    forget_key, retain_key = jax.random.split(key)
    sides = {
        "forget_batch": (forget_loss or loss, forget_batch, forget_key),
        "retain_batch": (loss, retain_batch, retain_key),
    }
    results = []
    for name, (side_loss, batch, side_key) in sides.items():
        _check_batch(name, batch, microbatch_size)
        value_and_grad = jax.value_and_grad(_with_aux(side_loss, has_aux), has_aux=True)
        if microbatch_size is None:
            results.append(value_and_grad(params, batch, side_key))
        else:
            results.append(_accumulate(value_and_grad, params, batch, side_key, microbatch_size))
    ((forget_value, forget_aux), forget), ((retain_value, retain_aux), retain) = results
    if forget_loss is None:
        forget = jax.tree.map(jnp.negative, forget)
    return ForgetRetainGrads(forget, retain, forget_value, retain_value, forget_aux, retain_aux)


def _with_aux(loss: KeyedLoss, has_aux: bool) -> KeyedLoss:
    """Returns `loss` as a function that returns (value, aux), with None as aux if it has none."""

    def value_and_aux(params: Tree, batch: Tree, key: jax.Array) -> tuple[jax.Array, Any]:
        try:
            result = loss(params, batch, key)
        except Exception as error:
            # Flax refuses that a loss changes a module made outside it, as batch statistics do.
            if type(error).__name__ == "TraceContextError":
                error.add_note(f"The loss changes a module that was made outside it{NNX_RECIPE}")
            raise
        if not has_aux and isinstance(result, tuple):
            raise TypeError(
                f"loss must return a scalar, got a tuple of {len(result)}; if it returns "
                "(value, aux), give forget_retain_grads has_aux=True"
            )
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"has_aux=True needs a loss that returns (value, aux), got {type(result).__name__}"
            )
        return result if has_aux else (result, None)

    return value_and_aux


def _accumulate(value_and_grad, params: Tree, batch: Tree, key: jax.Array, size: int):
    """The mean of `value_and_grad` over the slices of a batch, in the dtypes of one slice."""
    n = len(jax.tree.leaves(batch)[0]) // size

    def slices(x):
        return jnp.swapaxes(jnp.reshape(x, (size, n, *jnp.shape(x)[1:])), 0, 1)

    def wide(x):
        return x.astype(accumulator([x]))

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


def _check_batch(name: str, batch: Tree, size: int | None) -> None:
    """Raises ValueError unless the batch holds examples, in whole slices of `size` if given."""
    lengths = {
        path: jnp.shape(leaf)[0] if jnp.ndim(leaf) else None
        for path, leaf in zip(leaf_paths(batch), jax.tree.leaves(batch), strict=True)
    }
    if not lengths or 0 in lengths.values():
        raise ValueError(f"{name} is empty; it must hold at least one example")
    if size is None:
        return
    at_least(1, microbatch_size=size)
    if len(set(lengths.values())) > 1 or None in lengths.values():
        raise ValueError(
            f"microbatch_size slices the leading axis, but the leaves of {name} differ in it: "
            f"{lengths}"
        )
    (length,) = set(lengths.values())
    if length % size:
        raise ValueError(
            f"microbatch_size must divide the {length} examples of {name}, got {size}; give a "
            "divisor, or a batch that is a multiple of it"
        )
