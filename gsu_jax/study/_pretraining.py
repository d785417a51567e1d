"""Compiled pre-training of generators and judges, all seeds at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.models import Loss
from gsu_jax.runtime import Compiled, Placement, check_batch, stepper, timed


class TrainingState(NamedTuple):
    """Where a training stands: what a checkpoint needs to go on as if nothing had happened.

    Every leaf of `params` and `optimizer` has a leading axis of seeds; `epoch` counts finished
    epochs; `seconds` is the steady time so far, `compile_seconds` apart; device synchronised.
    """

    params: Any
    optimizer: Any
    epoch: int
    seconds: float
    compile_seconds: float


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam over shuffled batches.

    Attributes:
      epochs: passes over the data; the last, incomplete batch of a pass is dropped.
      batch_size: images in a batch; a smaller data set shrinks it.
      learning_rate: of Adam; constant, or the peak of the cycle.
      one_cycle: raise the rate to its peak over the first 30 % of the steps and let it fall to
        almost 0 along cosines (Smith & Topin 2018).
    """

    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 1e-3
    one_cycle: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1:
            raise ValueError(
                "epochs must be at least 0 and batch_size at least 1, found "
                f"{self.epochs} and {self.batch_size}."
            )

    def steps_per_epoch(self, examples: int) -> int:
        """Steps in one pass over so many examples."""
        if examples < 1:
            raise ValueError("data holds no examples; there is nothing to train on.")
        return examples // min(self.batch_size, examples)

    def optimizer(self, examples: int) -> optax.GradientTransformation:
        """The optax optimiser of this recipe for so many examples."""
        rate = self.learning_rate
        if self.one_cycle:
            steps = max(self.epochs * self.steps_per_epoch(examples), 1)
            rate = optax.cosine_onecycle_schedule(steps, self.learning_rate)
        return optax.adam(rate)


def start_training(
    init: Callable[[jax.Array], Any], recipe: Recipe, keys: jax.Array
) -> TrainingState:
    """A fresh `TrainingState` with parameters `init(fold_in(key, 0))` for each of `keys`."""
    params = jax.vmap(lambda key: init(jax.random.fold_in(key, 0)))(keys)
    # The optimiser's first state is the same for any number of examples.
    return TrainingState(params, jax.vmap(recipe.optimizer(1).init)(params), 0, 0.0, 0.0)


def train_epoch(
    loss: Loss,
    recipe: Recipe,
    state: TrainingState,
    data: Any,
    keys: jax.Array,
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[TrainingState, jax.Array]:
    """One more epoch for every seed, from `state`.

    Epoch e of a seed is drawn from `fold_in(key, e + 1)` alone, so a run that goes on from a saved
    state equals one that never stopped.

    Args:
      loss: `loss(params, batch, key) -> scalar`.
      recipe: batch size and optimiser.
      state: from `start_training` or an earlier epoch.
      data: pytree of arrays with a leading axis of examples, shared by all seeds.
      keys: `[seeds]`, one key each, the same at every epoch.
      mesh: devices to share each batch over, along the mesh's first axis.

    Returns:
      The next state, and the mean loss of each seed over the epoch.

    Raises:
      ValueError: there are no examples, or a batch of them does not divide over the mesh.
      OutOfMemory: a step does not fit on the device; says what to lower.
    """
    examples = len(jax.tree.leaves(data)[0])
    steps = recipe.steps_per_epoch(examples)
    batch_size = min(recipe.batch_size, examples)
    check_batch(batch_size, mesh)
    epoch_keys = jax.vmap(lambda key: jax.random.fold_in(key, state.epoch + 1))(keys)
    order = jax.vmap(lambda key: jax.random.permutation(key, examples))(epoch_keys)
    batches = order[:, : steps * batch_size].reshape(len(keys), steps, batch_size).swapaxes(0, 1)
    every_seed = jax.vmap(jax.random.fold_in, (0, None))
    step_keys = jax.vmap(every_seed, (None, 0))(epoch_keys, jnp.arange(steps))
    place = Placement(mesh)
    carry = place.parameters((state.params, state.optimizer), lead=1)
    xs = (step_keys, batches)
    if mesh is not None:
        batches = np.asarray(batches)
        xs = (*place.everywhere(xs), place.look_up(jax.tree.map(np.asarray, data), batches))
        data = None
    ((params, optimizer), losses), seconds, compile_seconds = timed(
        _stepper(loss, recipe, examples, place), carry, xs, data
    )
    state = TrainingState(
        params,
        optimizer,
        state.epoch + 1,
        state.seconds + seconds,
        state.compile_seconds + compile_seconds,
    )
    return state, losses.mean(0)


@lru_cache
def _stepper(loss: Loss, recipe: Recipe, examples: int, place: Placement) -> Compiled:
    optimizer = recipe.optimizer(examples)

    def step(carry, x, data):
        params, state = carry
        key, indices, *batch = x
        (batch,) = batch or [jax.tree.map(lambda array: array[indices], data)]
        value, grads = jax.value_and_grad(loss)(params, batch, key)
        updates, state = optimizer.update(grads, state, params)
        return place.hold((optax.apply_updates(params, updates), state)), value

    batches = {"batch_size": min(recipe.batch_size, examples)}
    return stepper(step, members=True, batches=batches)
