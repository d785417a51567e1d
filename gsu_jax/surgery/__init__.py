"""Gradient surgery on trees, and as optax transforms."""

from gsu_jax.surgery._add_retain_gradient import AddRetainGradientState, add_retain_gradient
from gsu_jax.surgery._conflict import Conflict, measure
from gsu_jax.surgery._gradients import ForgetRetainGrads, forget_retain_grads
from gsu_jax.surgery._layer_conflicts import LayerConflictsState, layer_conflicts
from gsu_jax.surgery._layer_labels import conflict_labels, layer_labels
from gsu_jax.surgery._measure_conflict import (
    MeasureConflictState,
    conflict_metrics,
    measure_conflict,
)
from gsu_jax.surgery._multi_steps import MultiStepsState, multi_steps
from gsu_jax.surgery._project_conflicting import project_conflicting
from gsu_jax.surgery._projection import project, project_cone, project_subspace
from gsu_jax.surgery._tree_checks import Tree, check_floating

__all__ = [
    "AddRetainGradientState",
    "Conflict",
    "ForgetRetainGrads",
    "LayerConflictsState",
    "MeasureConflictState",
    "MultiStepsState",
    "Tree",
    "add_retain_gradient",
    "check_floating",
    "conflict_labels",
    "conflict_metrics",
    "forget_retain_grads",
    "layer_conflicts",
    "layer_labels",
    "measure",
    "measure_conflict",
    "multi_steps",
    "project",
    "project_cone",
    "project_conflicting",
    "project_subspace",
]
