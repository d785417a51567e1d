"""The compiled parts of a run."""

from functools import partial
from typing import NamedTuple

import jax
import optax

from gsu_jax.data import Examples, ForgetRetainSets
from gsu_jax.methods import Method
from gsu_jax.models import GenerativeModel, Params
from gsu_jax.runtime import (
    Compiled,
    Placement,
    ProgramCache,
    compile_together,
    loop_steps,
    on_one_device,
)
from gsu_jax.unlearning._epoch import EpochShape, EpochSizes, epoch_order
from gsu_jax.unlearning._step import RunConstants, initialize, take_step


class Program(NamedTuple):
    """The compiled parts of a run.

    Attributes:
        initialize: All that comes before the first step.
        order: The order of an epoch.
        steps: Steps of an epoch.
        place: Where they run.
    """

    initialize: Compiled
    order: Compiled
    steps: Compiled
    place: Placement

    def is_compiled(
        self, params: Params, sets: ForgetRetainSets, sizes: EpochSizes, key: jax.Array
    ) -> bool:
        """Returns whether a run with arguments like these has been compiled."""
        return self.initialize.is_compiled(params, sets, sizes.steps, key)

    def compile(
        self,
        params: Params,
        sets: ForgetRetainSets,
        sizes: EpochSizes,
        key: jax.Array,
        kept: Examples | None = None,
    ) -> float:
        """Compiles all parts at once, for arguments like these or for their shapes.

        On a mesh, XLA chooses where the results of a part lie, so that the next part cannot be
        compiled before it; each part is then compiled when it is first called.

        Args:
            params: The parameters.
            sets: The images to forget and to retain.
            sizes: The sizes of an epoch.
            key: Of the run.
            kept: What `RunConstants.kept` will hold.

        Returns:
            The seconds.
        """
        start = params, sets, sizes.steps, key
        if not self.place.single_device or self.is_compiled(params, sets, sizes, key):
            return 0.0
        if not sizes.steps:  # the method has none
            return self.initialize.compile(*start)
        carry, prepared = self.initialize.shapes(*start)
        inputs = self.order.shapes(key, 0, sizes)
        constants = RunConstants(sets.images, sizes.steps, prepared, key, on_one_device(kept))
        return compile_together(
            (self.steps, (carry, inputs, constants, 0, sizes.steps)),
            (self.initialize, start),
            (self.order, (key, 0, sizes)),
        )


def program_of(
    model: GenerativeModel,
    method: Method,
    optimizer: optax.GradientTransformation | None,
    shape: EpochShape,
    place: Placement,
) -> Program:
    """Returns the program of runs of these shapes, from `ProgramCache.default` if it is there."""

    def build() -> Program:
        run = (model, method, optimizer, place)
        return Program(
            Compiled(partial(initialize, *run)),
            Compiled(partial(epoch_order, shape=shape)),
            Compiled(loop_steps(partial(take_step, *run))),
            place,
        )

    return ProgramCache.default.get((Program, model, method, optimizer, shape, place), build)
