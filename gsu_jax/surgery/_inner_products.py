"""Inner products of two trees, leaf by leaf, that neither overflow nor underflow.

Nothing is ravelled, because ravelling copies and fails on explicitly sharded leaves. Entries are
multiplied and summed without a matrix unit, so products are float32 on every backend. XLA sums in
blocks, which keeps the error of 1e7 terms at about 1e-7 of |u| |r|.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gsu_jax.surgery._leaves import Leaves


class InnerProducts(NamedTuple):
    """Inner products of u' = update_scale u and r' = retain_scale r, [n_groups] each.

    Attributes:
        dot: <u', r'>.
        update_square: <u', u'>.
        retain_square: <r', r'>.
        update_scale: A power of two.
        retain_scale: A power of two.
    """

    dot: jax.Array
    update_square: jax.Array
    retain_square: jax.Array
    update_scale: jax.Array
    retain_scale: jax.Array

    @property
    def finite(self) -> jax.Array:
        """Whether both trees are finite, per group."""
        return jnp.isfinite(self.update_square) & jnp.isfinite(self.retain_square)


# Compiled separately. Otherwise, each call outside `jit` would compile both branches again.
@partial(jax.jit, static_argnames="groups", inline=True)
def inner_products(us: Leaves, rs: Leaves, groups: tuple[int, ...]) -> InnerProducts:
    """Returns the inner products of the leaves `us` and `rs`, summed within each group.

    The scales are 1 if the plain squares are well inside the range of the dtype. Otherwise they
    bring the largest entry of each tree to between 1 and 2.

    Args:
        us: Leaves of the updates, of one dtype.
        rs: Leaves of the retain gradient, of the same shapes and dtype.
        groups: For each leaf the index of its group, 0 ... n_groups - 1.
    """
    dtype = us[0].dtype if us else jnp.float32

    def per_group(reduce, *leaves):
        totals = [jnp.zeros((), dtype)] * (max(groups, default=-1) + 1)
        for group, *pair in zip(groups, *leaves, strict=True):
            totals[group] = reduce(totals[group], *pair)
        return jnp.stack(totals) if totals else jnp.zeros((0,), dtype)

    def dot(total, a, b):
        return total + jnp.sum(a * b)

    def largest(total, a):
        return jnp.maximum(total, jnp.max(jnp.abs(a), initial=0))

    plain_dot = per_group(dot, us, rs)
    plain_u, plain_r = per_group(dot, us, us), per_group(dot, rs, rs)
    safe = well_inside_range(plain_u) & well_inside_range(plain_r)
    # Under shard_map, both branches must vary over the same axes; `safe` varies over all of them.
    one = jnp.where(safe, 1, 1).astype(dtype) * jnp.ones_like(plain_dot)

    def plain(us, rs):
        return InnerProducts(plain_dot * one, plain_u * one, plain_r * one, one, one)

    def normalized(us, rs):
        scale_u = one * scale_by_power_of_two(per_group(largest, us))
        scale_r = one * scale_by_power_of_two(per_group(largest, rs))
        us = [u * scale_u[g] for u, g in zip(us, groups, strict=True)]
        rs = [r * scale_r[g] for r, g in zip(rs, groups, strict=True)]
        return InnerProducts(
            per_group(dot, us, rs), per_group(dot, us, us), per_group(dot, rs, rs), scale_u, scale_r
        )

    # Normalizing always would read both trees once more for a rare case: on two cores, a projection
    # of 971,224 parameters takes 1.1 instead of 0.7 ms (one gradient at batch size 128: 7.8 ms).
    return lax.cond(safe, plain, normalized, us, rs)


def well_inside_range(squares: jax.Array) -> jax.Array:
    """Returns whether every sum of squares is reliable: not zero, no overflow, no underflow."""
    limits = jnp.finfo(squares.dtype)
    # Below the lower bound, squares that were flushed to zero could have changed the sum.
    low, high = limits.tiny / limits.eps**3, limits.max * limits.eps
    return jnp.all((squares > low) & (squares < high))


def scale_by_power_of_two(largest: jax.Array) -> jax.Array:
    """Returns 2^-e with 2^e <= largest < 2^(e+1), an exact factor; 1 if `largest` is 0 or inf."""
    usable = jnp.isfinite(largest) & (largest > 0)
    _, exponent = jnp.frexp(jnp.where(usable, largest, 1))
    reach = jnp.finfo(largest.dtype).maxexp - 3  # so that neither 2^e nor 2^-e is subnormal
    return jnp.ldexp(jnp.ones_like(largest), jnp.clip(1 - exponent, -reach, reach))
