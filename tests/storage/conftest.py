"""A small tree to save, and what it must come back as."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def _small_tree(seed=0):
    kernel = jax.random.normal(jax.random.key(seed), (4, 6))
    params = {
        "decoder": {"kernel": kernel, "bias": jnp.zeros(6)},
        "encoder": (kernel[0, :3].astype(jnp.bfloat16), jnp.arange(3)),
    }
    return {"params": params, "step": np.int64(7), "mask": np.array([True, False])}


def _assert_same_bits(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture(scope="session")
def small_tree():
    """A function of a seed: a tree of nested containers with float32, bfloat16, ints and bools."""
    return _small_tree


@pytest.fixture(scope="session")
def assert_same_bits():
    return _assert_same_bits
