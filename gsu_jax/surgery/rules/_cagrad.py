"""CAGrad: the direction near the mean of both gradients that serves the worse of them best."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from gsu_jax.surgery._inner_products import scale_by_power_of_two
from gsu_jax.surgery._pmean import AxisName
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import check_share, combining
from gsu_jax.surgery.rules._leaves import Leaves, like_updates, widened


def cagrad(
    c: float = 0.5, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    """CAGrad: the direction within c |g| of the mean g = (u + r) / 2 that serves both best.

    See `gsu_jax.surgery.rules.conflict_averse`.

    Args:
        c: in [0, 1); 0 is the mean of both gradients.
        axis_name: as in `pcgrad`.

    Returns:
        As `pcgrad`.

    Raises:
        ValueError: c is not in [0, 1). ValueError, TypeError: from `update`, as `pcgrad`.

    References:
        Liu et al., `Conflict-Averse Gradient Descent for Multi-task Learning
        <https://arxiv.org/abs/2110.14048>`_, 2021.
    """
    check_share("c", c)
    return combining("cagrad", partial(conflict_averse, c=c), axis_name)


def conflict_averse(updates: Tree, retain_grads: Tree, c: float = 0.5) -> Tree:
    r"""The direction near the mean of both whose worse inner product with them is largest.

    With u and r the two trees as single vectors and g = (u + r) / 2 their mean:

    .. math:: \arg\max_d \min(\langle u, d \rangle, \langle r, d \rangle)
        \quad \text{such that} \quad |d - g| \le c |g|

    (CAGrad, Liu et al. 2021). With m(w) = w u + (1 - w) r, its dual is to minimise
    <m(w), g> + c |g| |m(w)| over w in [0, 1], and then d = g + c |g| m / |m|. In w this is a
    straight line plus the distance to a point, the origin, on another line: its least value is
    found in closed form.

    Args:
        updates: a tree of floating-point arrays.
        retain_grads: the gradient of the retained loss: same structure and shapes.
        c: how far d may leave the mean, relative to its norm; in [0, 1). At 0, d is the mean.

    Returns:
        A tree with the structure, shapes and dtypes of `updates`; g = `updates` / 2 where r is
        zero.

    Raises:
        ValueError: structures or shapes differ (names the leaf).
        TypeError: a leaf is not floating point (names the leaf).
    """
    u, r = widened(updates, retain_grads)
    if not u:
        return updates
    scale = scale_by_power_of_two(jnp.maximum(_largest(u), _largest(r)))
    u, r = [scale * x for x in u], [scale * x for x in r]
    mean = [(a + b) / 2 for a, b in zip(u, r, strict=True)]
    reach = jnp.asarray(c, scale.dtype) * _norm(mean)

    weight = _dual_weight(u, r, mean, reach)
    mixed = [weight * a + (1 - weight) * b for a, b in zip(u, r, strict=True)]
    own_scale = scale_by_power_of_two(_largest(mixed))
    mixed = [own_scale * m for m in mixed]
    norm = _norm(mixed)
    factor = jnp.where(norm > 0, reach / jnp.where(norm > 0, norm, 1), 0)
    return like_updates(
        updates, [(g + factor * m) / scale for g, m in zip(mean, mixed, strict=True)]
    )


def _dual_weight(u: Leaves, r: Leaves, mean: Leaves, reach: jax.Array) -> jax.Array:
    """The minimiser over w in [0, 1] of <m, mean> + reach |m|, m = r + w (u - r)."""
    line = [a - b for a, b in zip(u, r, strict=True)]
    slope, square = _dot(line, mean), _dot(line, line)
    nearest = -_dot(r, line) / jnp.where(square > 0, square, 1)
    distance = _norm([b + nearest * e for b, e in zip(r, line, strict=True)])
    # With w = nearest + t, |m|^2 = distance^2 + square t^2: the derivative is zero at
    # t = -slope distance / sqrt(square (reach^2 square - slope^2)), where that root is real.
    bend = reach**2 * square - slope**2
    inside = (square > 0) & (bend > 0)
    root = jnp.sqrt(jnp.where(inside, square, 1)) * jnp.sqrt(jnp.where(inside, bend, 1))
    straight = jnp.where(slope > 0, 0, 1).astype(slope.dtype)  # then the line alone decides
    return jnp.where(inside, jnp.clip(nearest - slope * distance / root, 0, 1), straight)


def _dot(a: Leaves, b: Leaves) -> jax.Array:
    return sum(jnp.sum(x * y) for x, y in zip(a, b, strict=True))


def _norm(a: Leaves) -> jax.Array:
    return jnp.sqrt(_dot(a, a))


def _largest(a: Leaves) -> jax.Array:
    return jnp.stack([jnp.max(jnp.abs(x), initial=0) for x in a]).max()
