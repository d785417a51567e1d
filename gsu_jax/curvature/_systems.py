"""What goes into an influence and what comes out of it, checked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.checks import is_traced
from gsu_jax.surgery import Tree


def length(batch: Tree) -> int:
    """Returns the number of examples of a batch; 0 if it has no leading axis."""
    leaves = jax.tree.leaves(batch)
    return jnp.shape(leaves[0])[0] if leaves and jnp.ndim(leaves[0]) else 0


def check_examples(**batches: Tree) -> None:
    """Raises ValueError for a batch without examples."""
    for name, batch in batches.items():
        if length(batch) == 0:
            raise ValueError(f"{name} is empty; give arrays with a leading axis of examples")


def finite(result: Any) -> Any:
    """Returns `result`, or raises ValueError if its residual is known and not finite."""
    if not is_traced(result.residual) and not np.isfinite(result.residual):
        raise ValueError(
            "the influence is not finite: at params, the loss, its gradient or its curvature is "
            "NaN or infinite, or the curvature is not positive definite; check loss(params, data), "
            'add damping, or use curvature="gauss_newton"'
        )
    return result
