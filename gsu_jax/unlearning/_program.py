"""The compiled parts of a run."""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import optax

from gsu_jax.data import ForgetRetainSets
from gsu_jax.methods import Method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import Compiled, Placement, compile_together, jitted, stepper
from gsu_jax.unlearning._epoch import EpochShape, EpochSizes, epoch_order
from gsu_jax.unlearning._step import initialize, take_step


class Program(NamedTuple):
    """The compiled parts of a run: all before its first step, the order of an epoch, its steps."""

    initialize: Compiled
    order: Compiled
    steps: Compiled

    def compile(
        self, params: Params, sets: ForgetRetainSets, sizes: EpochSizes, key: jax.Array
    ) -> float:
        """Compiles all parts for arguments like these, or their shapes; returns the seconds."""
        if self.initialize.compiled_for(params, sets, sizes.steps, key):
            return 0.0
        if not sizes.steps:  # the method has none
            return self.initialize.compile(params, sets, sizes.steps, key)
        carry, prepared = self.initialize.shapes(params, sets, sizes.steps, key)
        xs = self.order.shapes(key, 0, sizes)
        shared = (sets, sizes.steps, prepared, key)
        return compile_together(
            (self.steps, (carry, xs, shared, 0, sizes.steps)),
            (self.initialize, (params, sets, sizes.steps, key)),
            (self.order, (key, 0, sizes)),
        )


@lru_cache
def program_of(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    room: EpochShape,
    place: Placement,
) -> Program:
    """Kept between runs with the same model, method and room, so that those compile nothing."""
    run = (model, method, optimizer, place)
    batches = {"batch_size": room.batch, "retain_batch_size": room.retain_batch}
    return Program(
        jitted(partial(initialize, *run)),
        jitted(partial(epoch_order, room=room)),
        stepper(partial(take_step, *run), batches=batches),
    )
