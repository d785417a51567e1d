"""The diffusion model of linear layers: a Gaussian at first, in orthonormal coordinates."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from closed_diffusion import decoder, path_bound

from gsu_jax.models import MLPDiffusionConfig
from gsu_jax.models.diffusion import bits_per_dimension, to_data
from gsu_jax.networks import generator, mlp_diffusion, use_principal_components
from gsu_jax.networks._mlp_diffusion import cosine_basis

pytestmark = pytest.mark.long

CONFIG = MLPDiffusionConfig((4, 4, 1), coordinates=16, width=16, depth=2, bound_times=64)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def images_of(n):
    """Correlated Gaussian images around gray, as bytes."""
    smooth = RNG.normal(size=(n, 4, 4, 1)).cumsum(1).cumsum(2)
    x = 0.07 * (smooth - smooth.mean(0)) + 0.1
    return np.uint8(np.clip(np.round((x + 1) * 128 - 0.5), 0, 255))


IMAGES = images_of(2000)


@pytest.fixture(scope="module")
def params():
    return jax.jit(mlp_diffusion(CONFIG).init)(jax.random.key(1))


def moved(params):
    """Parameters away from zero, as after training; the basis stays."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    noise = [0.1 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    other = jax.tree.map(jnp.add, params, jax.tree.unflatten(tree, noise))
    return {"network": other["network"] | {"basis": params["network"]["basis"]}}


@pytest.mark.parametrize("count", [16, 5])
def test_fresh_model_is_the_exact_denoiser_of_its_gaussian(count):
    """E[x | z] of x ~ N(m, V S V' + rest (I - V V')), as one matrix formula."""
    config = replace(CONFIG, coordinates=count)
    model = mlp_diffusion(config)
    params = use_principal_components(model.init(KEY), IMAGES)
    network = {name: np.asarray(params["network"][name]) for name in ("mean", "basis")}
    variance = np.exp(np.asarray(params["network"]["log_variance"], np.float64))
    mean, basis = network["mean"], network["basis"]
    assert basis.shape == (16, count)
    covariance = basis * (variance[:-1] - variance[-1]) @ basis.T + variance[-1] * np.eye(16)
    z, gamma = RNG.normal(size=(3, 16)), np.array([-6.0, 0.5, 4.0])
    found = model.denoise(params, jnp.asarray(z.reshape(3, 4, 4, 1)), jnp.asarray(gamma))
    for row, one, level in zip(np.asarray(found).reshape(3, 16), z, gamma, strict=True):
        signal = 1 / (1 + np.exp(level))
        a = np.sqrt(signal)
        total = signal * covariance + (1 - signal) * np.eye(16)
        expected = mean + a * covariance @ np.linalg.solve(total, one - a * mean)
        np.testing.assert_allclose(row, expected, atol=2e-4)


def test_bits_per_dimension_of_a_fresh_model_are_those_of_its_gaussian():
    """A rotation leaves the noise as it is: the path is closed in V's coordinates."""
    model = mlp_diffusion(CONFIG)
    params = use_principal_components(model.init(KEY), IMAGES)
    mean, basis, log_variance = (
        np.asarray(params["network"][name], np.float64)
        for name in ("mean", "basis", "log_variance")
    )
    x = np.asarray(to_data(IMAGES[:300]), np.float64).reshape(300, 16)
    expected = path_bound(x @ basis, mean @ basis, np.exp(log_variance[:-1]), -13.3, 9.0)
    expected += decoder(x, -13.3).sum(-1)
    elbo = jax.jit(model.elbo)
    draws = -np.stack([elbo(params, IMAGES[:300], key) for key in jax.random.split(KEY, 8)])
    found, right = (bits_per_dimension(nats.mean(), (4, 4, 1)) for nats in (draws, expected))
    assert abs(found - right) < 0.02


def test_principal_components_are_those_of_the_images(params):
    network = use_principal_components(params, IMAGES)["network"]
    x = np.asarray(to_data(IMAGES), np.float64).reshape(-1, 16)
    basis = np.asarray(network["basis"])
    np.testing.assert_allclose(network["mean"], x.mean(0), atol=1e-5)
    np.testing.assert_allclose(basis.T @ basis, np.eye(16), atol=1e-5)
    turned = np.cov((x @ basis).T, bias=True)
    np.testing.assert_allclose(np.exp(network["log_variance"][:-1]), np.diag(turned), rtol=1e-3)
    np.testing.assert_allclose(turned - np.diag(np.diag(turned)), 0.0, atol=1e-5)
    with pytest.raises(ValueError, match=r"images.*16 numbers.*got 2 of 4"):
        use_principal_components(params, np.zeros((2, 2, 2, 1)))


@pytest.mark.parametrize("shape", [(4, 6, 1), (3, 4, 3)])
def test_cosine_waves_are_orthonormal_and_slow_first(shape):
    pixels = np.prod(shape)
    basis, variances = cosine_basis(shape, pixels)
    np.testing.assert_allclose(basis.T @ basis, np.eye(pixels), atol=1e-5)
    assert np.ptp(basis[:: shape[-1], 0]) < 1e-6  # the first wave is constant
    assert variances.shape == (pixels + 1,)
    few, _ = cosine_basis(shape, 5)
    np.testing.assert_array_equal(few, basis[:, :5])


def test_basis_has_no_gradient_and_everything_else_has(params):
    other = moved(params)
    grads = jax.jit(jax.grad(mlp_diffusion(CONFIG).loss))(other, IMAGES[:32], KEY)
    zero = {
        jax.tree_util.keystr(path)
        for path, grad in jax.tree_util.tree_leaves_with_path(grads)
        if not np.any(grad)
    }
    assert zero == {"['network']['basis']"}


def test_training_improves_on_the_gaussian():
    """Images of two kinds are no Gaussian: their bound falls by up to 3.3 nats."""
    bright = RNG.random(400) < 0.5
    images = np.where(bright[:, None, None, None], 200, 50) + RNG.integers(-9, 10, (400, 4, 4, 1))
    config = replace(CONFIG, width=64)
    model = mlp_diffusion(config)
    start = use_principal_components(model.init(KEY), np.uint8(images))
    optimizer, images = optax.adam(3e-3), jnp.asarray(np.uint8(images))

    @jax.jit
    def train(params, keys):
        def step(carry, key):
            params, state = carry
            updates, state = optimizer.update(jax.grad(model.loss)(params, images, key), state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    end = train(start, jax.random.split(jax.random.key(1), 1000))
    elbo = jax.jit(model.elbo)
    before, after = (-elbo(params, images, KEY).mean() for params in (start, end))
    assert after < before - 1.5
    np.testing.assert_array_equal(end["network"]["basis"], start["network"]["basis"])


def test_bfloat16_computes_near_float32(params):
    other, half = moved(params), mlp_diffusion(replace(CONFIG, dtype="bfloat16"))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(half.init, KEY))}
    assert dtypes == {jnp.dtype(jnp.float32)}
    exact = mlp_diffusion(CONFIG).loss(other, IMAGES[:32], KEY)
    rounded = half.loss(other, IMAGES[:32], KEY)
    assert rounded != exact
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


def test_equal_configs_are_one_model_and_the_registry_knows_it(params):
    same = MLPDiffusionConfig((4, 4, 1), coordinates=16, width=16, depth=2, bound_times=64)
    assert mlp_diffusion(same) is mlp_diffusion(CONFIG) is generator(CONFIG)
    assert mlp_diffusion() is mlp_diffusion(MLPDiffusionConfig())
    drawn = mlp_diffusion(CONFIG).sample(params, KEY, 3)
    assert drawn.shape == (3, 4, 4, 1)
    assert 0 <= drawn.min() <= drawn.max() <= 1
