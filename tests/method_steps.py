"""One step of a method on its own: a batch to look at, and what the step adds to parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.methods import Batch, Method
from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.models import GenerativeModel

KEY = jax.random.key(0)


def batch_of(forget, retain, mask=None, number: int = 0, progress: float = 0.0) -> Batch:
    """A batch of all given images, with a full mask by default."""
    mask = np.ones(len(forget)) if mask is None else mask
    visited = MaskedBatch(jnp.asarray(forget), jnp.asarray(mask, jnp.float32))
    return Batch(visited, jnp.arange(len(forget)), jnp.asarray(retain), number, progress)


def first_step(
    method: Method, model: GenerativeModel, params: Any, batch: Batch, optimizer=None
) -> Any:
    """What the first step adds to the parameters, by SGD at a rate of 0.1 if not told otherwise."""
    grads = method.gradients(model, None, params, batch, KEY)
    chain = method.transform(optimizer or optax.sgd(0.1), params, 1)
    state = chain.init(params)
    return chain.update(grads.updates, state, params, retain_grads=grads.retain_grads)[0]
