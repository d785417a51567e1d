"""An orthonormal basis of the span of k trees, from k x k Gramians taken leaf by leaf."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from gsu_jax.inner_products import scale_by_power_of_two

Rows = Sequence[jax.Array]
MANY = 16  # rows from which on matrix products are the faster


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
    largest = jnp.stack([jnp.max(jnp.abs(row), axis=_trailing(row), initial=0) for row in rows])
    scale = scale_by_power_of_two(largest.max(0))
    rows = [row * lax.expand_dims(scale, _trailing(row)) for row in rows]
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


def inner(a: Rows, b: Rows) -> jax.Array:
    """Inner products of the rows of two sets, [k, k], in their dtype.

    Multiplied and summed, as `inner_products` does; from `MANY` rows on as matrix products, whose
    k^2 products share what they read (XLA's CPU backend: 20 times faster for 32 rows of 1e6 values,
    three times slower for 8 rows of 1e7).
    """
    product = _matrix_product if len(a[0]) >= MANY else _multiply_and_sum
    return sum(product(x, y) for x, y in zip(a, b, strict=True))


def _multiply_and_sum(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.sum(x[:, None] * y[None], axis=tuple(range(2, x.ndim + 1)))


def _matrix_product(x: jax.Array, y: jax.Array) -> jax.Array:
    contracted = (_trailing(x), _trailing(y)), ((), ())
    # Said for leaves that are sharded explicitly: the k x k products are whole on every device.
    whole = NamedSharding(jax.typeof(x).sharding.mesh, PartitionSpec())
    return lax.dot_general(x, y, contracted, precision=lax.Precision.HIGHEST, out_sharding=whole)


def along(basis: Rows, vector: Rows) -> jax.Array:
    """Inner products of each row of `basis` with the leaves of one vector, [k]."""
    return sum(jnp.sum(q * v[None], axis=_trailing(q)) for q, v in zip(basis, vector, strict=True))


def combine(weights: jax.Array, rows: Rows) -> list[jax.Array]:
    """Weighted sums of rows: `weights` is [k] or [m, k]."""
    return [jnp.tensordot(weights, row, 1, precision=lax.Precision.HIGHEST) for row in rows]


def _trailing(row: jax.Array) -> tuple[int, ...]:
    return tuple(range(1, row.ndim))
