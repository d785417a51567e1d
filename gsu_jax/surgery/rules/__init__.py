"""Rules that combine a forget and a retain gradient, one per file."""

from gsu_jax.surgery.rules._barrier import barrier
from gsu_jax.surgery.rules._cagrad import cagrad
from gsu_jax.surgery.rules._gru import GRUState, gru
from gsu_jax.surgery.rules._nash import nash
from gsu_jax.surgery.rules._pcgrad import pcgrad
from gsu_jax.surgery.rules._project_retain import project_retain
from gsu_jax.surgery.rules._projected_adam import ProjectedAdamState, projected_adam

__all__ = [
    "GRUState",
    "ProjectedAdamState",
    "barrier",
    "cagrad",
    "gru",
    "nash",
    "pcgrad",
    "project_retain",
    "projected_adam",
]
