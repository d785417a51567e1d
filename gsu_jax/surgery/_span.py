"""The span of k vectors, from k x k Gramians taken leaf by leaf: normal equations, and a basis."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gsu_jax.surgery._conflict import Conflict, mean_gradient, measure_leaves
from gsu_jax.surgery._gramian import combine_rows, dot_rows, gramian, trailing
from gsu_jax.surgery._inner_products import scale_by_power_of_two, well_inside_range
from gsu_jax.surgery._leaves import Leaves

# Rows at unit length count as far from dependent if their Gramian has at least this least
# eigenvalue. Its rounding then moves a solution by a thousandth at most, and the second solution by
# a thousandth of that.
INDEPENDENT = 1e-3


# Compiled separately. Otherwise, each call outside `jit` would compile both branches again.
@partial(jax.jit, inline=True)
def remove_span(us: Leaves, rs: Leaves) -> tuple[list[jax.Array], Conflict]:
    """Removes from a vector its component in the span of k rows.

    If the rows are far from dependent, their Gramian gives the component, which reads the rows five
    times. Otherwise an orthonormal basis is computed first.

    Args:
        us: Leaves of the vector.
        rs: Leaves [k, ...] of the rows, of the same dtype.

    Returns:
        The remainder, which is `us` if an entry is not finite; and the conflict of the vector with
        the mean of the rows.
    """
    normal = normal_equations(rs, us)

    def remove(basis, components):
        return [u - c for u, c in zip(us, combine_rows(components, basis), strict=True)]

    def by_gramian(us, rs):
        components = normal.solve(normal.along)
        # The second solution removes what the rounding of the first left.
        components += normal.solve(dot_rows(rs, remove(rs, components)))
        return remove(rs, components), _conflict_with_mean(normal)

    def by_basis(us, rs):
        basis, rank = orthonormal_basis(rs)
        components = dot_rows(basis, us)
        components += dot_rows(basis, remove(basis, components))
        conflict = measure_leaves(us, mean_gradient(rs))
        projected = (rank > 0) & jnp.isfinite(conflict.update_norm)
        remainder = [
            jnp.where(projected, p, u) for p, u in zip(remove(basis, components), us, strict=True)
        ]
        return remainder, conflict._replace(projected=projected)

    return lax.cond(normal.usable, by_gramian, by_basis, us, rs)


class Normal(NamedTuple):
    """The normal equations of least squares, |u - sum_i c_i r_i|^2, for rows r_i.

    Attributes:
        gramian: <r_i, r_j>, [k, k].
        along: <r_i, u>, [k].
        update_square: <u, u>.
        inverse: The inverse of the Gramian of the rows at unit length.
        usable: Whether the rows are far from dependent and all numbers well inside the range of
            their dtype. Otherwise the other fields are not to be used.
    """

    gramian: jax.Array
    along: jax.Array
    update_square: jax.Array
    inverse: jax.Array
    usable: jax.Array

    def solve(self, products: jax.Array) -> jax.Array:
        """Returns the c of a vector from its inner products with the rows, [k]."""
        length = jnp.sqrt(jnp.diagonal(self.gramian))
        solution = jnp.dot(self.inverse, products / length, precision=lax.Precision.HIGHEST)
        return solution / length


def normal_equations(rows: Leaves, vector: Leaves) -> Normal:
    """Returns the normal equations of rows and a vector of one dtype, float32 or float64."""
    products = gramian(rows, rows)
    square = jnp.diagonal(products)
    update_square = sum(jnp.sum(jnp.square(v)) for v in vector)
    usable = well_inside_range(square) & well_inside_range(update_square)
    length = jnp.sqrt(jnp.where(usable, square, 1))
    cosines = jnp.where(usable, products / jnp.outer(length, length), 0)
    values, vectors = jnp.linalg.eigh(cosines)
    usable &= values[0] >= INDEPENDENT
    scaled = vectors / jnp.where(usable, values, 1)[None]
    inverse = jnp.dot(scaled, vectors.T, precision=lax.Precision.HIGHEST)
    return Normal(products, dot_rows(rows, vector), update_square, inverse, usable)


@jax.jit
def orthonormal_basis(rows: Leaves) -> tuple[list[jax.Array], jax.Array]:
    """Returns an orthonormal basis of the span of the rows, and its rank.

    A k x k Gramian in float32 cannot tell apart two rows that differ by less than sqrt(eps) = 3e-4
    of their length. So the basis takes two rounds. Each computes a Gramian G = V diag(l) V^T and
    new rows diag(l)^(-1/2) V^T rows. The first round bounds l from below and separates nearby
    directions, by a factor of up to 1e3. The second makes the rows orthonormal and drops those that
    are rounding noise.

    Args:
        rows: Leaves of shape [k, ...] and one dtype, float32 or float64.

    Returns:
        Leaves [k, ...], of which `rank` rows are orthonormal and the others zero. If an entry is
        not finite, the rank is 0 and the rows are undefined.
    """
    k, dtype = len(rows[0]), rows[0].dtype
    noise = k * jnp.finfo(dtype).eps
    largest = jnp.stack([jnp.max(jnp.abs(row), axis=trailing(row), initial=0) for row in rows])
    scale = scale_by_power_of_two(largest.max(0))
    rows = [row * lax.expand_dims(scale, trailing(row)) for row in rows]
    products = gramian(rows, rows)
    square = jnp.diagonal(products)
    finite = jnp.all(jnp.isfinite(square))
    length = jnp.sqrt(jnp.where(finite & (square > 0), square, 1))
    cosines = jnp.where(finite, products / jnp.outer(length, length), 0)

    values, vectors = jnp.linalg.eigh(cosines)
    spread = vectors.T / jnp.outer(jnp.sqrt(jnp.maximum(values, 8 * noise)), length)
    rows = combine_rows(jnp.where(finite, spread, 0), rows)

    values, vectors = jnp.linalg.eigh(gramian(rows, rows))
    kept = values > 64 * noise
    weights = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
    return combine_rows(vectors.T * weights[:, None], rows), jnp.sum(kept)


def _conflict_with_mean(normal: Normal) -> Conflict:
    """The conflict with the mean of the rows, in which each row has the share 1 / k."""
    k = len(normal.along)
    update_norm = jnp.sqrt(normal.update_square)
    retain_norm = jnp.sqrt(jnp.sum(normal.gramian)) / k
    cosine = jnp.sum(normal.along) / k / (update_norm * retain_norm)
    return Conflict(jnp.clip(cosine, -1, 1), update_norm, retain_norm, normal.usable)
