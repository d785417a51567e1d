"""Inner products of two trees, leaf by leaf, that neither overflow nor underflow.

Nothing is ravelled: ravelling copies, and fails on leaves that are sharded explicitly. Products are
multiplied and summed (no matrix unit), so they are float32 on every backend; XLA sums in blocks,
which keeps the error of 1e7 terms at about 1e-7 of |u| |r|.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class InnerProducts(NamedTuple):
    """For each group g of leaves (leading axis), of u' = update_scale u and r' = retain_scale r.

    Attributes:
        dot: <u', r'>.
        update_square: <u', u'>.
        retain_square: <r', r'>.
        update_scale: a power of two.
        retain_scale: a power of two.
    """

    dot: jax.Array
    update_square: jax.Array
    retain_square: jax.Array
    update_scale: jax.Array
    retain_scale: jax.Array

    @property
    def finite(self) -> jax.Array:
        """Whether all entries of both trees are finite, per group."""
        return jnp.isfinite(self.update_square) & jnp.isfinite(self.retain_square)


def accumulator(leaves: Sequence[jax.Array]) -> jnp.dtype:
    """The dtype of sums over the leaves: float32, or float64 where one of them is float64."""
    wide = any(jnp.result_type(leaf) == jnp.float64 for leaf in leaves)
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


# Compiled on its own, since without it each call outside a `jit` would compile the branches anew.
@partial(jax.jit, static_argnames="groups", inline=True)
def inner_products(
    us: Sequence[jax.Array], rs: Sequence[jax.Array], groups: tuple[int, ...]
) -> InnerProducts:
    """Inner products of the leaves `us` and `rs`, summed within each group.

    Args:
        us: leaves of the updates.
        rs: leaves of the retain gradient, of equal shapes.
        groups: for each leaf the index of its group, 0 ... n_groups - 1.

    Returns:
        Arrays of shape [n_groups]. Scales are 1 where the plain squares are well inside the range
        of the dtype; else they bring the largest entry to between 1 and 2.
    """
    dtype = accumulator([*us, *rs])
    us, rs = [jnp.asarray(u, dtype) for u in us], [jnp.asarray(r, dtype) for r in rs]

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
    # Both branches must vary over the same manual axes under shard_map; `safe` varies over all.
    one = jnp.where(safe, 1, 1).astype(dtype) * jnp.ones_like(plain_dot)

    def plain(us, rs):
        return InnerProducts(plain_dot * one, plain_u * one, plain_r * one, one, one)

    def normalised(us, rs):
        scale_u = one * scale_by_power_of_two(per_group(largest, us))
        scale_r = one * scale_by_power_of_two(per_group(largest, rs))
        us = [u * scale_u[g] for u, g in zip(us, groups, strict=True)]
        rs = [r * scale_r[g] for r, g in zip(rs, groups, strict=True)]
        return InnerProducts(
            per_group(dot, us, rs), per_group(dot, us, us), per_group(dot, rs, rs), scale_u, scale_r
        )

    # Always normalising would read both trees once more, for a case that is rare: a projection of
    # 971,224 parameters in 1.1 ms instead of 0.7 on two cores (7.8 ms: one gradient, batch 128).
    return lax.cond(safe, plain, normalised, us, rs)


def well_inside_range(squares: jax.Array) -> jax.Array:
    """Whether sums of squares can be trusted, all of them: none overflowed, underflowed or is 0."""
    limits = jnp.finfo(squares.dtype)
    # Below the lower bound, squares that were flushed to zero could matter to the sum.
    low, high = limits.tiny / limits.eps**3, limits.max * limits.eps
    return jnp.all((squares > low) & (squares < high))


def scale_by_power_of_two(largest: jax.Array) -> jax.Array:
    """2^-e with 2^e <= largest < 2^(e+1): exact to multiply by; 1 where `largest` is 0 or inf."""
    usable = jnp.isfinite(largest) & (largest > 0)
    _, exponent = jnp.frexp(jnp.where(usable, largest, 1))
    reach = jnp.finfo(largest.dtype).maxexp - 3  # so that neither 2^e nor 2^-e is subnormal
    return jnp.ldexp(jnp.ones_like(largest), jnp.clip(1 - exponent, -reach, reach))
