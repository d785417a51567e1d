"""The patch transformer against its formula in NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gsu_jax.models import TransformerDiffusionConfig
from gsu_jax.networks import generator, transformer_diffusion
from gsu_jax.networks._transformer_diffusion import from_patches, positions, to_patches

pytestmark = pytest.mark.long

CONFIG = TransformerDiffusionConfig(
    (4, 6, 2), patch=2, width=8, depth=2, heads=2, data_deviation=0.4, bound_times=4
)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 4, 6, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    return jax.jit(transformer_diffusion(CONFIG).init)(jax.random.key(1))


@pytest.fixture(scope="module")
def moved(params):
    """Parameters with no zeros, as after training."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    return jax.tree.unflatten(
        tree,
        [p + 0.2 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)],
    )


def linear(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])


def silu(x):
    return x * special.expit(x)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def normalize(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def formula(net, z, gamma):
    """One image: patches by hand, attention head by head."""
    signal, s = special.expit(-gamma), 0.4
    total = signal * s**2 + 1 - signal
    waves = gamma * np.geomspace(0.05, 2.0, 4)
    features = np.concatenate([np.sin(waves), np.cos(waves)])
    layers = net["embedding"]
    e = silu(linear(layers["second"], silu(linear(layers["first"], features))))
    corners = [(i, j) for i in (0, 2) for j in (0, 2, 4)]
    patches = np.stack([z[i : i + 2, j : j + 2].ravel() for i, j in corners]) / np.sqrt(total)
    tokens = linear(net["first"], patches) + positions(2, 3, 8)
    for _, block in sorted(net["blocks"].items()):
        modulation = np.split(linear(block["modulation"], e), 6)
        a, b, gate, c, d, wide_gate = modulation
        q, k, v = np.split(linear(block["into_heads"], normalize(tokens) * (1 + a) + b), 3, -1)
        mixed = np.concatenate(
            [
                special.softmax(q[:, h] @ k[:, h].T / 2, axis=-1) @ v[:, h]
                for h in (slice(0, 4), slice(4, 8))
            ],
            axis=-1,
        )
        tokens = tokens + gate * linear(block["out_of_heads"], mixed)
        wide = linear(block["wide"], normalize(tokens) * (1 + c) + d)
        tokens = tokens + wide_gate * linear(block["narrow"], gelu(wide))
    a, b = np.split(linear(net["modulation"], e), 2)
    out = linear(net["last"], normalize(tokens) * (1 + a) + b)
    image = np.zeros_like(z)
    for (i, j), patch in zip(corners, out, strict=True):
        image[i : i + 2, j : j + 2] = patch.reshape(2, 2, 2)
    skip = np.sqrt(signal) * s**2 / total
    return skip * z + np.sqrt(1 - signal) * s / np.sqrt(total) * image


def test_network_equals_its_formula(moved):
    z, gamma = RNG.normal(size=(3, 4, 6, 2)), np.array([-7.0, 0.3, 5.0])
    found = transformer_diffusion(CONFIG).denoise(
        moved, jnp.asarray(z, jnp.float32), jnp.asarray(gamma, jnp.float32)
    )
    expected = [formula(moved["network"], *one) for one in zip(z, gamma, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_fresh_network_shrinks_z_as_for_white_data(params):
    z = jnp.asarray(RNG.normal(size=(2, 4, 6, 2)), jnp.float32)
    found = transformer_diffusion(CONFIG).denoise(params, z, jnp.array([0.0, 0.0]))
    np.testing.assert_allclose(found, np.sqrt(0.5) * 0.16 / 0.58 * z, rtol=1e-4)


def test_patches_come_back_in_place():
    patches = to_patches(jnp.asarray(IMAGES), 2)
    np.testing.assert_array_equal(patches[1, 4], IMAGES[1, 2:4, 2:4].ravel())
    np.testing.assert_array_equal(from_patches(patches, (4, 6, 2), 2), IMAGES)


def test_every_parameter_has_a_gradient(moved):
    grads = jax.jit(jax.grad(transformer_diffusion(CONFIG).loss))(moved, IMAGES, KEY)
    zero = [
        jax.tree_util.keystr(path)
        for path, grad in jax.tree_util.tree_leaves_with_path(grads)
        if not np.any(grad)
    ]
    assert zero == []


def test_images_are_denoised_one_by_one(moved):
    denoise = transformer_diffusion(CONFIG).denoise
    z, gamma = jnp.asarray(2 * IMAGES - 1), jnp.linspace(-5.0, 5.0, 5)
    alone = [denoise(moved, z[i : i + 1], gamma[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(denoise(moved, z, gamma), jnp.stack(alone), atol=1e-5)


def test_seeds_train_together(moved):
    model = transformer_diffusion(CONFIG)
    both = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p]), moved)
    losses = jax.vmap(model.loss, (0, None, None))(both, IMAGES, KEY)
    np.testing.assert_allclose(losses[0], model.loss(moved, IMAGES, KEY), rtol=1e-4)


def test_bfloat16_computes_near_float32(moved):
    half = transformer_diffusion(replace(CONFIG, dtype="bfloat16"))
    exact = transformer_diffusion(CONFIG).loss(moved, IMAGES, KEY)
    rounded, grads = jax.jit(jax.value_and_grad(half.loss))(moved, IMAGES, KEY)
    assert rounded != exact
    np.testing.assert_allclose(rounded, exact, rtol=0.03)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}


def test_equal_configs_are_one_model_and_the_registry_knows_it(params):
    assert transformer_diffusion(replace(CONFIG)) is generator(CONFIG)
    assert transformer_diffusion() is transformer_diffusion(TransformerDiffusionConfig())
    model = transformer_diffusion(replace(CONFIG, sampler="heun", sampler_steps=2))
    drawn = model.sample(params, KEY, 3)
    assert drawn.shape == (3, 4, 6, 2)
    assert 0 <= drawn.min() <= drawn.max() <= 1
