"""CAGrad: the direction near the mean of both gradients that serves the worse of them best."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from gsu_jax.checks import in_range
from gsu_jax.surgery._inner_products import scale_by_power_of_two
from gsu_jax.surgery._leaves import Leaves, like_updates, widened
from gsu_jax.surgery._pmean_gradients import AxisName
from gsu_jax.surgery._tree_checks import Tree
from gsu_jax.surgery.rules._combining import combining


def cagrad(
    c: float = 0.5, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""CAGrad: maximizes the smaller inner product within c |g| of the mean gradient g.

    With u the updates and r the retain gradient, each as a single vector, and g = (u + r) / 2:

    .. math:: \arg\max_d \min(\langle u, d \rangle, \langle r, d \rangle)
        \quad \text{such that} \quad |d - g| \le c |g|

    With m(w) = w u + (1 - w) r, the dual is to minimize <m(w), g> + c |g| |m(w)| over w in [0, 1];
    then d = g + c |g| m / |m|. The dual is linear in w plus c |g| |m(w)|, and m(w) moves along a
    line, so its minimum has a closed form.

    Args:
        c: How far d may be from g, relative to |g|; in [0, 1). At 0, d is g.
        axis_name: As in `pcgrad`.

    Returns:
        A transform, as `pcgrad`. If r is zero, the result is `updates` / 2.

    Raises:
        ValueError: `c` is not in [0, 1); and from `update`, as `project_conflicting`.
        TypeError: From `update`, as `project_conflicting`.

    Example:
        >>> import jax.numpy as jnp
        >>> transform = cagrad(c=0.5)
        >>> updates, retain = jnp.array([-1.0, 1.0]), jnp.array([1.0, 0.0])
        >>> d, _ = transform.update(updates, transform.init(updates), retain_grads=retain)
        >>> d.round(5).tolist()
        [0.25, 0.5]

    References:
        Liu et al., `Conflict-Averse Gradient Descent for Multi-task Learning
        <https://arxiv.org/abs/2110.14048>`_, 2021.
    """
    in_range(0, 1, c=c)
    return combining("cagrad", partial(_conflict_averse, c=c), axis_name)


def _conflict_averse(updates: Tree, retain_grads: Tree, c: float) -> Tree:
    u, r = widened(updates, retain_grads)
    if not u:
        return updates
    scale = scale_by_power_of_two(jnp.maximum(_largest(u), _largest(r)))
    u, r = [scale * x for x in u], [scale * x for x in r]
    # In the docstring's notation: g is `mean`, w is `weight`, m is `mixed`, c |g| is `reach`.
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
    """The minimizer over w in [0, 1] of <m, mean> + reach |m|, m = r + w (u - r)."""
    line = [a - b for a, b in zip(u, r, strict=True)]
    slope, square = _dot(line, mean), _dot(line, line)
    nearest = -_dot(r, line) / jnp.where(square > 0, square, 1)
    distance = _norm([b + nearest * e for b, e in zip(r, line, strict=True)])
    # With w = nearest + t, |m|^2 = distance^2 + square t^2: the derivative is zero at
    # t = -slope distance / sqrt(square (reach^2 square - slope^2)), if that root is real.
    bend = reach**2 * square - slope**2
    inside = (square > 0) & (bend > 0)
    root = jnp.sqrt(jnp.where(inside, square, 1)) * jnp.sqrt(jnp.where(inside, bend, 1))
    endpoint = jnp.where(slope > 0, 0, 1).astype(slope.dtype)  # no root: the linear term decides
    return jnp.where(inside, jnp.clip(nearest - slope * distance / root, 0, 1), endpoint)


def _dot(a: Leaves, b: Leaves) -> jax.Array:
    return sum(jnp.sum(x * y) for x, y in zip(a, b, strict=True))


def _norm(a: Leaves) -> jax.Array:
    return jnp.sqrt(_dot(a, a))


def _largest(a: Leaves) -> jax.Array:
    return jnp.stack([jnp.max(jnp.abs(x), initial=0) for x in a]).max()
