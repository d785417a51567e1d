"""Gradient surgery on trees, and as optax transforms."""

from gsu_jax.surgery._cone import project_cone
from gsu_jax.surgery._conflict import Conflict, measure
from gsu_jax.surgery._gradients import ForgetRetainGrads, forget_retain_grads
from gsu_jax.surgery._projection import project, project_subspace
from gsu_jax.surgery._transforms import add_retain_gradient, measure_conflict, project_conflicting
from gsu_jax.surgery._tree_checks import check_floating

__all__ = [
    "Conflict",
    "ForgetRetainGrads",
    "add_retain_gradient",
    "check_floating",
    "forget_retain_grads",
    "measure",
    "measure_conflict",
    "project",
    "project_cone",
    "project_conflicting",
    "project_subspace",
]
