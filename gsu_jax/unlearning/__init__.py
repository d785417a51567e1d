"""`unlearn`: the one loop that runs every method."""

from gsu_jax.unlearning._epoch import EpochShape, EpochSizes, epoch_order
from gsu_jax.unlearning._loop import compile_ahead, unlearn
from gsu_jax.unlearning._result import StopRule, UnlearningResult
from gsu_jax.unlearning._step import initialize, take_step, with_images
from gsu_jax.unlearning._sweep import sweep

__all__ = [
    "EpochShape",
    "EpochSizes",
    "StopRule",
    "UnlearningResult",
    "compile_ahead",
    "epoch_order",
    "initialize",
    "sweep",
    "take_step",
    "unlearn",
    "with_images",
]
