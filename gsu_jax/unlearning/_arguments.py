"""Checks of what `unlearn` is given, before anything is computed."""

import functools
import hashlib
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.checks import random_key
from gsu_jax.data import Examples, check_examples, check_pair, is_images, number_of
from gsu_jax.methods import METHODS, Method, check_method, get_method
from gsu_jax.models import GenerativeModel, Params

FEW_STEPS = 10
KEY_BYTES = 64  # of an example, compared before the whole of it
SAMPLE = 256  # examples of each set that show which bytes differ
log = logging.getLogger(__name__)


def check_run(model: Any, params: Any, method: str | Method, key: Any, optimizer: Any) -> Method:
    """Returns the method of a run after checking that it can work on the model.

    Raises:
        TypeError: The model, the key or the optimizer is something else, or a value is traced.
        ValueError: The method is unknown, or needs a function that the model lacks.
    """
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"model must be a gsu_jax.GenerativeModel, got {type(model).__name__}; wrap yours: "
            "GenerativeModel(init=..., loss=..., sample=...)"
        )
    if isinstance(method, type) and issubclass(method, Method):
        raise TypeError(
            f"method must be a name or a method with its settings, got the class "
            f"{method.__name__}; give {method.__name__}()"
        )
    method = get_method(method)
    check_method(method, model)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, key))):
        raise TypeError(
            "params and key must have values, got traced ones: unlearn compiles its own programs; "
            "call it outside jax.jit, jax.grad and jax.vmap"
        )
    random_key(key=key)
    if not isinstance(optimizer, optax.GradientTransformation | None):
        raise TypeError(f"optimizer must be an optax transform, got {optimizer!r}")
    return method


def check_sets(method: Method, forget: Any, retain: Any) -> tuple[Examples, Examples]:
    """Returns both sets with arrays as leaves, after checking them; warns if they overlap.

    Raises:
        TypeError: A leaf is not numeric, or a value is traced.
        ValueError: The sets are empty, of different shapes, or not what the method works on.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((forget, retain))):
        raise TypeError(
            "forget and retain must be arrays with values, got traced ones: unlearn compiles its "
            "own programs; call it outside jax.jit, jax.grad and jax.vmap"
        )
    forget, retain = check_examples(forget, "forget"), check_examples(retain, "retain")
    check_pair(forget, retain)
    if method.needs and not is_images(forget):
        others = ", ".join(
            name for name, m in METHODS.items() if not m.needs and m.role == "method"
        )
        raise ValueError(
            f"{method.name} works on arrays of images, got forget as a {type(forget).__name__}; "
            f"choose a method that needs the loss alone: {others}"
        )
    if shared := count_shared(forget, retain):
        warnings.warn(
            f"{shared:,} of the {number_of(forget):,} examples to forget are also in retain, which "
            "keeps them; remove them from retain",
            stacklevel=3,
        )
    return forget, retain


def check_loss(model: GenerativeModel, params: Params, batch: Examples, key: jax.Array) -> None:
    """Raises ValueError unless `model.loss` can be traced and returns a scalar."""
    shapes = jax.tree.map(jnp.shape, batch)
    try:
        loss = jax.eval_shape(model.loss, params, batch, key)
    except Exception as error:
        raise ValueError(
            f"model.loss(params, batch, key) fails for the given params and a batch of shape "
            f"{shapes}: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(loss, "shape") or loss.shape != ():
        got = getattr(loss, "shape", type(loss).__name__)
        raise ValueError(
            f"model.loss must return one number, the mean over the batch, got {got} for a batch of "
            f"shape {shapes}"
        )


def warn_of_few_steps(method: Method, steps: int) -> None:
    """Logs a warning about a run that is too short to change anything, once for each method."""
    if method.visits == "forget" and 0 < steps < FEW_STEPS:
        _warn(method.title, steps)


def warn_of_lost_run(method: Method, history: Mapping[str, np.ndarray], params: Params) -> None:
    """Logs a warning if a loss is not finite at the end of a run, or what a run without steps made.

    Else, what the method says that the run left undone.

    Parameters that are spread over several processes are not checked.
    """
    lost = [n for n, x in history.items() if n.endswith("_loss") and not np.isfinite(x[-1:]).all()]
    if lost:
        log.warning(
            "%s ended with %s not finite: the parameters are lost. Lower the learning rate, or "
            "check the loss on one batch",
            method.title, " and ".join(lost),
        )  # fmt: skip
    if not history and not all(map(_is_finite, jax.tree.leaves(params))):
        log.warning(
            "%s ended with parameters that are not finite: they are lost. Check the loss on one "
            "batch; if the method has a damping, raise it",
            method.title,
        )
    if not lost and (undone := method.shortfall(history)):
        log.warning("%s: %s", method.title, undone)


def _is_finite(leaf: jax.Array) -> bool:
    whole = getattr(leaf, "is_fully_addressable", True)
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return not (whole and floating) or bool(np.isfinite(np.asarray(leaf)).all())


@functools.cache
def _warn(method: str, steps: int) -> None:
    log.warning(
        "%s takes %d step(s) in all, which changes little. Give epochs=%d; with several examples a "
        "smaller batch_size makes more steps too",
        method, steps, -(-50 // steps),
    )  # fmt: skip


def count_shared(forget: Examples, retain: Examples) -> int:
    """Returns how many examples of `forget` are also in `retain`, bit for bit.

    Example:
        >>> forget = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
        >>> count_shared(forget, forget[1:])
        1
    """
    a, b = _bytes(forget), _bytes(retain)
    if [x.shape[1] for x in a] != [x.shape[1] for x in b]:  # of other dtypes
        return 0
    # The bytes that differ most among the examples tell almost all of them apart.
    both = [np.concatenate([x[:SAMPLE], y[:SAMPLE]]) for x, y in zip(a, b, strict=True)]
    spread = np.concatenate([x.astype(np.float32).var(0) for x in both])
    columns = np.sort(np.argsort(-spread, kind="stable")[:KEY_BYTES])
    candidates = set(_keys(a, columns))
    kept = {_digest(b, i) for i, key in enumerate(_keys(b, columns)) if key in candidates}
    return sum(_digest(a, i) in kept for i in range(len(a[0]))) if kept else 0


def _bytes(examples: Examples) -> list[np.ndarray]:
    """The bytes of each example, `[n, bytes]` for each leaf."""
    leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(examples)]
    return [x.reshape(len(x), -1).view(np.uint8) for x in leaves]


def _keys(leaves: list[np.ndarray], columns: np.ndarray) -> list[bytes]:
    """A few bytes of each example: those at `columns` of its leaves in a row."""
    starts = np.cumsum([0, *(x.shape[1] for x in leaves)])
    parts = [
        x[:, columns[(columns >= first) & (columns < first + x.shape[1])] - first]
        for x, first in zip(leaves, starts[:-1], strict=True)
    ]
    return [row.tobytes() for row in np.concatenate(parts, axis=1)]


def _digest(leaves: list[np.ndarray], row: int) -> bytes:
    digest = hashlib.sha256()
    for x in leaves:
        digest.update(x[row].data)
    return digest.digest()
