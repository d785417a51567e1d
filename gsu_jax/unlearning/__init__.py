"""`unlearn`: the one loop that runs every method."""

from gsu_jax.unlearning._epoch import EpochShape, EpochSizes, StepInputs, epoch_order, gather_images
from gsu_jax.unlearning._loop import compile_ahead, unlearn
from gsu_jax.unlearning._result import StopRule, UnlearningResult
from gsu_jax.unlearning._step import RunConstants, initialize, take_step
from gsu_jax.unlearning._sweep import sweep

__all__ = [
    "EpochShape",
    "EpochSizes",
    "RunConstants",
    "StepInputs",
    "StopRule",
    "UnlearningResult",
    "compile_ahead",
    "epoch_order",
    "gather_images",
    "initialize",
    "sweep",
    "take_step",
    "unlearn",
]
