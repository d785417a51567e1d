"""Rounding, pruning and noise do to a tree of parameters what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.audit import perturb, prune, quantize

PARAMS = {
    "kernel": jax.random.normal(jax.random.key(0), (50, 20)),
    "half": jnp.linspace(-1, 1, 7, dtype=jnp.bfloat16),
    "zero": jnp.zeros(3),
    "count": jnp.arange(3),
}


@pytest.mark.parametrize(
    "change", [quantize, lambda p: prune(p, 0.3), lambda p: perturb(p, jax.random.key(1), 0.1)]
)
def test_shapes_dtypes_and_integers_stay(change):
    changed = change(PARAMS)
    for name, leaf in PARAMS.items():
        assert changed[name].shape == leaf.shape
        assert changed[name].dtype == leaf.dtype
    assert changed["count"].tolist() == [0, 1, 2]
    assert changed["zero"].tolist() == [0, 0, 0]
    assert bool(jnp.any(changed["kernel"] != PARAMS["kernel"]))


def test_int8_has_255_values_and_errs_by_half_a_step():
    kernel, rounded = PARAMS["kernel"], quantize(PARAMS)["kernel"]
    step = float(jnp.abs(kernel).max()) / 127
    assert float(jnp.abs(rounded - kernel).max()) <= step / 2 + 1e-6
    assert len(np.unique(np.round(rounded / step))) <= 255


def test_rounding_twice_is_rounding_once():
    once = quantize(PARAMS)["kernel"]
    np.testing.assert_allclose(quantize({"kernel": once})["kernel"], once, rtol=1e-6)


def test_pruning_takes_the_smallest_of_all_leaves():
    params = {"small": jnp.full(10, 0.01), "large": jnp.arange(1.0, 11.0)}
    pruned = prune(params, 0.5)
    assert float(jnp.abs(pruned["small"]).max()) == 0
    assert pruned["large"].tolist() == params["large"].tolist()
    assert prune(params, 0.0) is params


def test_noise_is_that_of_the_key():
    noise = [perturb(PARAMS, jax.random.key(seed), 0.01)["kernel"] for seed in (0, 0, 1)]
    assert bool((noise[0] == noise[1]).all())
    assert not bool((noise[0] == noise[2]).any())


def test_they_run_inside_jit():
    whole = jax.jit(lambda p: quantize(prune(perturb(p, jax.random.key(0), 0.01), 0.1)))(PARAMS)
    assert jax.tree.structure(whole) == jax.tree.structure(PARAMS)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="bits must be in"):
        quantize(PARAMS, bits=1)
    with pytest.raises(TypeError, match="bits must be an integer"):
        quantize(PARAMS, bits=8.0)
    with pytest.raises(ValueError, match="share must be in"):
        prune(PARAMS, 1.0)
    with pytest.raises(ValueError, match="params has no floating leaf"):
        prune({"count": jnp.arange(3)}, 0.5)
    with pytest.raises(TypeError, match="key must be a JAX random key"):
        perturb(PARAMS, 0, 0.1)
    with pytest.raises(ValueError, match="scale must be at least 0"):
        perturb(PARAMS, jax.random.key(0), -0.1)
