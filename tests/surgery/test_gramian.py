"""Products of rows held leaf by leaf, in chunks of columns or not: against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_tree, rows, vector

from gsu_jax.surgery import _gramian
from gsu_jax.surgery._gramian import combine_rows, dot_rows, gramian

SHAPES = [(7, 9), (64,), (), (3, 5, 11)]


@pytest.mark.parametrize("chunk", [None, 1, 8, 31, 40])
def test_products_are_those_of_the_long_rows(chunk, monkeypatch):
    if chunk is not None:
        monkeypatch.setattr(_gramian, "LARGE", 1)
        monkeypatch.setattr(_gramian, "CHUNK", chunk)
    for seed in range(3):
        a, b = random_tree(seed, k=3, shapes=SHAPES), random_tree(seed + 9, k=2, shapes=SHAPES)
        np.testing.assert_allclose(gramian(a, b), rows(a) @ rows(b).T, rtol=0, atol=2e-4)


def test_dot_rows_are_the_products_with_one_vector():
    a, v = random_tree(0, k=3, shapes=SHAPES), random_tree(1, shapes=SHAPES)
    np.testing.assert_allclose(dot_rows(a, v), rows(a) @ vector(v), rtol=0, atol=2e-4)


@pytest.mark.parametrize("k", [1, _gramian.FEW, _gramian.FEW + 1])
def test_combined_rows_are_weighted_sums(k):
    a = random_tree(0, k=k, shapes=SHAPES)
    weights = jnp.float32(np.random.default_rng(1).standard_normal((2, k)))
    one = vector(combine_rows(weights[0], a))
    np.testing.assert_allclose(one, np.asarray(weights[0]) @ rows(a), rtol=0, atol=1e-5)
    two = rows(combine_rows(weights, a))
    np.testing.assert_allclose(two, np.asarray(weights) @ rows(a), rtol=0, atol=1e-5)


def chunks(shape):
    """The length of the loop over chunks; 0 without one."""
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    program = jax.make_jaxpr(lambda x: gramian([x], [x]))(leaf)
    return sum(equation.params.get("length", 0) for equation in program.eqns)


def test_large_leaves_are_multiplied_in_chunks_on_a_cpu():
    on_cpu = jax.default_backend() == "cpu"
    large, chunk = _gramian.LARGE, _gramian.CHUNK
    assert chunks((1, large)) == (large // chunk - 1 if on_cpu else 0)
    assert chunks((1, large - 1)) == 0
    assert chunks((large // chunk, 2 * chunk)) == (1 if on_cpu else 0)
    assert chunks((large // chunk, 2 * chunk - 1)) == 0


@pytest.mark.parametrize("k", [_gramian.FEW, _gramian.FEW + 1])
def test_few_rows_are_combined_without_a_matrix_product(k):
    leaf = jax.ShapeDtypeStruct((k, 3), jnp.float32)
    program = str(jax.make_jaxpr(lambda w, x: combine_rows(w, [x]))(jnp.ones(k), leaf))
    assert ("dot_general" in program) == (k > _gramian.FEW)
