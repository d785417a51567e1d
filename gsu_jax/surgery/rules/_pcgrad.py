"""PCGrad, and S: the retain gradient without its component along the update."""

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery._inner_products import accumulator
from gsu_jax.surgery._pmean import AxisName
from gsu_jax.surgery._projection import project
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import combining
from gsu_jax.surgery.rules._leaves import like_updates, widened


def pcgrad(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    """PCGrad: u and r, each projected off the other where they conflict, and added.

    See `project_both`. It descends the retained loss too, so no `add_retain_gradient` is needed.

    Args:
        axis_name: under `pmap` or `shard_map`, the axis over which both gradients are averaged.

    Returns:
        A transform with the state `ProjectConflictingState`, where `projected` says whether the two
        conflict. Its `update` takes `retain_grads`; of a set with a leading axis, the mean.

    Raises:
        ValueError, TypeError: from `update`, as `project_conflicting`.

    References:
        Yu et al., `Gradient Surgery for Multi-Task Learning <https://arxiv.org/abs/2001.06782>`_,
        2020.
    """
    return combining("pcgrad", project_both, axis_name)


def project_retain(*, axis_name: AxisName | None = None) -> optax.GradientTransformationExtraArgs:
    """S: r - (<r, u> / <u, u>) u, the retain gradient without its component along the update.

    The forget gradient is not followed at all: training goes on, on the retained images, along
    what leaves the forget loss as it is. The sign of u makes no difference.

    Args:
        axis_name: as in `pcgrad`.

    Returns:
        As `pcgrad`.

    Raises:
        ValueError, TypeError: from `update`, as `pcgrad`.

    References:
        Mandal & Gottwald, 2025.
    """

    def combine(updates, retain_grads):
        wide = jax.tree.map(lambda r: jnp.asarray(r, accumulator([r])), retain_grads)
        projected = project(wide, updates)
        return jax.tree.map(lambda p, u: p.astype(jnp.result_type(u)), projected, updates)

    return combining("project_retain", combine, axis_name)


def project_both(updates: Tree, retain_grads: Tree) -> Tree:
    """Takes each of the two out of the other where they conflict, and adds them up.

    With u and r the two trees as single vectors: where <u, r> < 0

        (u - (<u, r> / <r, r>) r) + (r - (<r, u> / <u, u>) u)

    and else u + r (PCGrad for two tasks, Yu et al. 2020).

    Args:
        updates: a tree of floating-point arrays.
        retain_grads: the gradient of the retained loss: same structure and shapes.

    Returns:
        A tree with the structure, shapes and dtypes of `updates`; `updates` where r is zero.

    Raises:
        ValueError: structures or shapes differ (names the leaf).
        TypeError: a leaf is not floating point (names the leaf).
    """
    u, r = widened(updates, retain_grads)
    both = zip(project(u, r, when="conflict"), project(r, u, when="conflict"), strict=True)
    return like_updates(updates, [a + b for a, b in both])
