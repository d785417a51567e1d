"""Compiled pre-training of generators and judges, all seeds at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import above, at_least
from gsu_jax.data import scale_examples
from gsu_jax.models import Loss
from gsu_jax.runtime import (
    Compiled,
    Placement,
    ProgramCache,
    Stopwatch,
    explain_out_of_memory,
    scan_steps,
    take_rows,
)

Carry = tuple[Any, optax.OptState]


class TrainingState(NamedTuple):
    """The state of a training, all a checkpoint needs to resume it exactly.

    Attributes:
        params: Parameters, each leaf with a leading axis of seeds.
        optimizer: Optimizer state, each leaf with a leading axis of seeds.
        epoch: The number of finished epochs.
        seconds: The time so far with the devices synchronized, without compilation.
        compile_seconds: The compilation so far.
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
        epochs: The passes over the data; each drops its last, incomplete batch.
        batch_size: The images in a batch; a smaller data set shrinks it.
        learning_rate: The rate of Adam: constant, or the peak of the cycle.
        one_cycle: Raises the rate to its peak over the first 30 % of the steps, then lowers it to
            almost 0, both along cosines.
        clip: The largest norm of a gradient, above 0; a larger gradient is scaled to it. None for
            no limit. A loss whose size differs much from batch to batch, such as a diffusion
            model's, trains faster with one.

    Example:
        >>> Recipe(epochs=2, batch_size=32).steps_per_epoch(100)
        3

    References:
        Smith & Topin, `Super-Convergence <https://arxiv.org/abs/1708.07120>`_, 2018.
    """

    # Fields of a later release: a study's record has them where they are not the default.
    added: ClassVar[tuple[str, ...]] = ("clip",)

    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 1e-3
    one_cycle: bool = False
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None:
            above(0, clip=self.clip)
        at_least(0, epochs=self.epochs)
        at_least(1, batch_size=self.batch_size)

    def steps_per_epoch(self, examples: int) -> int:
        """Returns the steps in one pass over `examples` examples."""
        if examples < 1:
            raise ValueError("data must hold at least one example, got none")
        return examples // min(self.batch_size, examples)

    def optimizer(self, examples: int) -> optax.GradientTransformation:
        """Returns the optax optimizer for `examples` examples."""
        rate = self.learning_rate
        if self.one_cycle:
            steps = max(self.epochs * self.steps_per_epoch(examples), 1)
            rate = optax.cosine_onecycle_schedule(steps, self.learning_rate)
        if self.clip is None:
            return optax.adam(rate)
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(rate))


def start_training(
    init: Callable[[jax.Array], Any], recipe: Recipe, keys: jax.Array
) -> TrainingState:
    """Returns a fresh `TrainingState` with parameters `init(fold_in(key, 0))` for each key."""
    params = jax.vmap(lambda key: init(jax.random.fold_in(key, 0)))(keys)
    # The first state of the optimizer is the same for any number of examples.
    return TrainingState(params, jax.vmap(recipe.optimizer(1).init)(params), 0, 0.0, 0.0)


def train_epoch(
    loss: Loss,
    recipe: Recipe,
    state: TrainingState,
    data: Any,
    keys: jax.Array,
    mesh: jax.sharding.Mesh | None = None,
) -> tuple[TrainingState, jax.Array]:
    """Trains every seed for one more epoch.

    Epoch e of a seed depends on `fold_in(key, e + 1)` alone, so a run that resumes from a saved
    state equals an uninterrupted one.

    Args:
        loss: `loss(params, batch, key) -> scalar`. Images in the batch, `[n, height, width,
            channels]`, are floating: those of type uint8 are scaled to [0, 1].
        recipe: The batch size and the optimizer.
        state: From `start_training` or an earlier epoch.
        data: A pytree of arrays with a leading axis of examples, shared by all seeds.
        keys: `[seeds]`, the same at every epoch.
        mesh: Devices that share each batch along the first axis of the mesh.

    Returns:
        The next state, and the mean loss of each seed over the epoch.

    Raises:
        ValueError: There are no examples, or the devices do not divide a batch.
        OutOfMemory: A step does not fit on the device; says what to lower.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> recipe = Recipe(batch_size=4, learning_rate=0.1)
        >>> state = start_training(lambda key: jnp.zeros(()), recipe, keys)
        >>> def loss(params, batch, key):
        ...     return (params - batch.mean()) ** 2
        >>> state, losses = train_epoch(loss, recipe, state, jnp.ones(8), keys)
        >>> state.epoch, losses.shape
        (1, (2,))
    """
    examples = len(jax.tree.leaves(data)[0])
    steps, batch_size = recipe.steps_per_epoch(examples), min(recipe.batch_size, examples)
    place, stopwatch = Placement(mesh), Stopwatch(state.seconds, state.compile_seconds)
    place.check_batch(batch_size)
    epoch_keys = jax.vmap(lambda key: jax.random.fold_in(key, state.epoch + 1))(keys)
    order = jax.vmap(lambda key: jax.random.permutation(key, examples))(epoch_keys)
    indices = order[:, : steps * batch_size].reshape(len(keys), steps, batch_size).swapaxes(0, 1)
    every_seed = jax.vmap(jax.random.fold_in, (0, None))
    step_keys = jax.vmap(every_seed, (None, 0))(epoch_keys, jnp.arange(steps))
    with explain_out_of_memory(models=len(keys), batch_size=batch_size):
        carry = place.parameters((state.params, state.optimizer), lead=1)
        data, batches = place.gather(data, indices)
        inputs = StepInputs(place.replicate(step_keys), batches)
        program = _program_of(loss, recipe, examples, place)
        (params, optimizer), losses = stopwatch.run(program, carry, inputs, data)
    state = TrainingState(
        params, optimizer, state.epoch + 1, stopwatch.seconds, stopwatch.compile_seconds
    )
    return state, losses.mean(0)


class StepInputs(NamedTuple):
    """What differs from step to step: a key, and the batch as `Placement.gather` prepares it."""

    key: jax.Array
    batch: Any


def _program_of(loss: Loss, recipe: Recipe, examples: int, place: Placement) -> Compiled:
    optimizer = recipe.optimizer(examples)

    def step(carry: Carry, inputs: StepInputs, data: Any) -> tuple[Carry, jax.Array]:
        params, state = carry
        # In a tuple: only arrays with four axes are images, whatever `data` is.
        (batch,) = scale_examples((take_rows(data, inputs.batch),))
        value, grads = jax.value_and_grad(loss)(params, batch, inputs.key)
        updates, state = optimizer.update(grads, state, params)
        return place.constrain((optax.apply_updates(params, updates), state)), value

    def build() -> Compiled:
        return Compiled(scan_steps(jax.vmap(step, (0, 0, None))))

    return ProgramCache.default.get((train_epoch, loss, recipe, examples, place), build)
