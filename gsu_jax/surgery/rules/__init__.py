"""Rules that combine a forget and a retain gradient, a page each."""

from gsu_jax.surgery.rules._cagrad import cagrad, conflict_averse
from gsu_jax.surgery.rules._gru import gru
from gsu_jax.surgery.rules._pcgrad import pcgrad, project_both, project_retain
from gsu_jax.surgery.rules._projected_adam import project_in_metric, projected_adam

__all__ = [
    "cagrad",
    "conflict_averse",
    "gru",
    "pcgrad",
    "project_both",
    "project_in_metric",
    "project_retain",
    "projected_adam",
]
