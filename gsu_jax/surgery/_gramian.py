"""Products of k vectors that are held leaf by leaf: rows, whose leaves have shape [k, ...]."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

Rows = Sequence[jax.Array]
FEW = 8  # rows up to which a sum that is written out, and so fused with what uses it, is faster
CHUNK = 2**14  # columns
# From this many values of a leaf on its columns are taken in chunks on a CPU, that its rows are
# read once from memory (XLA's matrix product reads them again and again: 283 against 64 ms for 8
# rows of 1e7 values in eight leaves, 97 against 33 ms for 32 rows of 1e6 in one).
LARGE = 2**21


def inner(a: Rows, b: Rows) -> jax.Array:
    """Inner products of the rows of two sets, [m, k], in their dtype."""
    return sum(_by_columns(_product, x, y) for x, y in zip(a, b, strict=True))


def along(rows: Rows, vector: Rows) -> jax.Array:
    """Inner products of each row with the leaves of one vector, [k]."""
    return sum(_product(x, v, first=0) for x, v in zip(rows, vector, strict=True))


def combine(weights: jax.Array, rows: Rows) -> list[jax.Array]:
    """Weighted sums of rows: `weights` is [k] or [m, k]."""
    if weights.ndim == 1 and len(weights) <= FEW:
        return [sum(w * x for w, x in zip(weights, row, strict=True)) for row in rows]
    return [jnp.tensordot(weights, row, 1, precision=lax.Precision.HIGHEST) for row in rows]


def trailing(row: jax.Array) -> tuple[int, ...]:
    """The axes of a leaf but its first."""
    return tuple(range(1, row.ndim))


def _product(x: jax.Array, y: jax.Array, first: int = 1) -> jax.Array:
    """Contracts all axes of two leaves but the first; those of `y` from axis `first` on."""
    contracted = (trailing(x), tuple(range(first, y.ndim))), ((), ())
    # Said for leaves that are sharded explicitly: the products are whole on every device.
    whole = NamedSharding(jax.typeof(x).sharding.mesh, PartitionSpec())
    return lax.dot_general(x, y, contracted, precision=lax.Precision.HIGHEST, out_sharding=whole)


def _by_columns(product: Callable[..., Any], *leaves: jax.Array) -> Any:
    """`product(*leaves)`, which is a sum over columns; of a large leaf on a CPU, in chunks."""
    columns = leaves[0][0].size
    large = max(leaf.size for leaf in leaves) >= LARGE and columns >= 2 * CHUNK
    sharded = any(any(jax.typeof(leaf).sharding.spec) for leaf in leaves)
    if jax.default_backend() != "cpu" or not large or sharded:
        return product(*leaves)
    leaves = [leaf.reshape(len(leaf), columns) for leaf in leaves]

    def add(total, start):
        chunks = [lax.dynamic_slice_in_dim(leaf, start, CHUNK, axis=1) for leaf in leaves]
        return jax.tree.map(jnp.add, total, product(*chunks)), None

    rest = columns % CHUNK + CHUNK  # at least a chunk: the sum starts with it
    first = product(*[leaf[:, :rest] for leaf in leaves])
    return lax.scan(add, first, jnp.arange(rest, columns, CHUNK))[0]
