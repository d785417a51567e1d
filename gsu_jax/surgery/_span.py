"""The span of k trees, by k x k Gramians taken leaf by leaf: normal equations, and a basis."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from gsu_jax.surgery._gramian import Rows, along, combine, inner, trailing
from gsu_jax.surgery._inner_products import scale_by_power_of_two, well_inside_range

# The least eigenvalue of a Gramian of rows at unit length that is far from dependent: its rounding
# moves a solution by a thousandth at most, and the second solution by a thousandth of that.
INDEPENDENT = 1e-3


class Normal(NamedTuple):
    """The normal equations of least squares: of |u - sum_i c_i r_i|^2, for rows r_i.

    Attributes:
        gramian: <r_i, r_j>, [k, k].
        along: <r_i, u>, [k].
        update_square: <u, u>.
        inverse: of the Gramian of the rows at unit length.
        usable: whether the rows are far from dependent, and the numbers from the limits of their
            dtype; where not, nothing else here is to be used.
    """

    gramian: jax.Array
    along: jax.Array
    update_square: jax.Array
    inverse: jax.Array
    usable: jax.Array

    def solve(self, products: jax.Array) -> jax.Array:
        """The c of a vector whose inner products with the rows are `products`, [k]."""
        length = jnp.sqrt(jnp.diagonal(self.gramian))
        solution = jnp.dot(self.inverse, products / length, precision=lax.Precision.HIGHEST)
        return solution / length


def normal_equations(rows: Rows, vector: Rows) -> Normal:
    """The normal equations of the rows and a vector, of one dtype, float32 or float64."""
    gramian = inner(rows, rows)
    square = jnp.diagonal(gramian)
    update_square = sum(jnp.sum(jnp.square(v)) for v in vector)
    usable = well_inside_range(square) & well_inside_range(update_square)
    length = jnp.sqrt(jnp.where(usable, square, 1))
    cosines = jnp.where(usable, gramian / jnp.outer(length, length), 0)
    values, vectors = jnp.linalg.eigh(cosines)
    usable &= values[0] >= INDEPENDENT
    scaled = vectors / jnp.where(usable, values, 1)[None]
    inverse = jnp.dot(scaled, vectors.T, precision=lax.Precision.HIGHEST)
    return Normal(gramian, along(rows, vector), update_square, inverse, usable)


@jax.jit
def orthonormal_basis(rows: Rows) -> tuple[list[jax.Array], jax.Array]:
    """Returns an orthonormal basis of the span of the rows, and its rank.

    A k x k Gramian in float32 sees two rows that differ by less than sqrt(eps) = 3e-4 of their
    length as one. So the basis is taken in two rounds, each a Gramian G = V diag(l) V^T and new
    rows diag(l)^(-1/2) V^T rows: the first, with small l held up, draws nearby directions apart (by
    up to 1e3), the second makes them orthonormal and drops what is rounding noise by then.

    Args:
        rows: leaves of shape [k, ...] and one dtype, float32 or float64.

    Returns:
        Leaves [k, ...], of which `rank` rows are orthonormal and the others zero; rank 0 if any
        entry is not finite.
    """
    k, dtype = len(rows[0]), rows[0].dtype
    noise = k * jnp.finfo(dtype).eps
    largest = jnp.stack([jnp.max(jnp.abs(row), axis=trailing(row), initial=0) for row in rows])
    scale = scale_by_power_of_two(largest.max(0))
    rows = [row * lax.expand_dims(scale, trailing(row)) for row in rows]
    gramian = inner(rows, rows)
    square = jnp.diagonal(gramian)
    finite = jnp.all(jnp.isfinite(square))
    length = jnp.sqrt(jnp.where(finite & (square > 0), square, 1))
    gramian = jnp.where(finite, gramian / jnp.outer(length, length), 0)

    values, vectors = jnp.linalg.eigh(gramian)
    spread = vectors.T / jnp.outer(jnp.sqrt(jnp.maximum(values, 8 * noise)), length)
    rows = combine(jnp.where(finite, spread, 0), rows)

    values, vectors = jnp.linalg.eigh(inner(rows, rows))
    kept = values > 64 * noise
    weights = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
    return combine(vectors.T * weights[:, None], rows), jnp.sum(kept)
