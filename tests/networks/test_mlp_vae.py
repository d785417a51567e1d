"""The VAE of linear layers, and the edge to Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special, stats

from gsu_jax.models import MLPVAEConfig
from gsu_jax.networks import mlp_vae
from gsu_jax.networks._functional import functional

CONFIG = MLPVAEConfig((4, 4, 1), (12,), 3)
GAUSSIAN = MLPVAEConfig((4, 4, 1), (12,), 3, likelihood="gaussian", variance=0.05)
IMAGES = np.random.default_rng(0).random((6, 4, 4, 1)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return jax.jit(mlp_vae(CONFIG).init)(jax.random.key(1))


def forward(layers, x):
    """Linear layers with ReLU between them, in NumPy."""
    for number, layer in sorted(layers["layers"].items()):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
        x = x if number == max(layers["layers"]) else np.maximum(x, 0)
    return x


def test_encoder_and_decoder_equal_formula(params):
    model = mlp_vae(CONFIG)
    mean, log_variance = np.split(forward(params["encoder"], IMAGES.reshape(6, -1)), 2, axis=-1)
    np.testing.assert_allclose(model.encode(params, IMAGES)[0], mean, atol=1e-5)
    np.testing.assert_allclose(model.encode(params, IMAGES)[1], log_variance, atol=1e-5)
    decoded = forward(params["decoder"], mean).reshape(6, 4, 4, 1)
    found = model.decode(params, jnp.asarray(mean, jnp.float32))
    np.testing.assert_allclose(found, decoded, atol=1e-5)
    np.testing.assert_allclose(model.mean(found), special.expit(decoded), atol=1e-5)


def test_bernoulli_likelihood_takes_logits(params):
    model = mlp_vae(CONFIG)
    logits = np.random.default_rng(1).normal(size=IMAGES.shape).astype(np.float32)
    share = special.expit(logits.astype(np.float64))
    expected = (IMAGES * np.log(share) + (1 - IMAGES) * np.log1p(-share)).reshape(6, -1).sum(-1)
    np.testing.assert_allclose(model.log_likelihood(logits, IMAGES), expected, rtol=1e-5)


def test_gaussian_likelihood_takes_means(params):
    model = mlp_vae(GAUSSIAN)
    decoded = model.decode(params, 30.0 * jax.random.normal(KEY, (6, 3)))
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    np.testing.assert_array_equal(model.mean(decoded), decoded)
    expected = stats.norm(np.asarray(decoded, np.float64), np.sqrt(0.05)).logpdf(IMAGES)
    found = model.log_likelihood(decoded, IMAGES)
    np.testing.assert_allclose(found, expected.reshape(6, -1).sum(-1), rtol=1e-5)


def test_beta_weighs_kl_alone(params):
    loss = {
        beta: mlp_vae(MLPVAEConfig((4, 4, 1), (12,), 3, beta=beta)).loss(params, IMAGES, KEY)
        for beta in (0.0, 1.0, 4.0)
    }
    assert loss[1.0] > loss[0.0]
    np.testing.assert_allclose(loss[4.0] - loss[0.0], 4 * (loss[1.0] - loss[0.0]), rtol=1e-3)


def test_samples_follow_key(params):
    model = mlp_vae(CONFIG)
    first, again, other = (model.sample(params, jax.random.key(k), 5) for k in (3, 3, 4))
    assert first.shape == (5, 4, 4, 1)
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_bfloat16_computes_near_float32(params):
    half = mlp_vae(MLPVAEConfig((4, 4, 1), (12,), 3, dtype="bfloat16"))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(half.init, KEY))}
    assert dtypes == {jnp.dtype(jnp.float32)}
    exact = mlp_vae(CONFIG).loss(params, IMAGES, KEY)
    rounded, grads = jax.jit(jax.value_and_grad(half.loss))(params, IMAGES, KEY)
    assert rounded.dtype == jnp.float32
    assert rounded != exact  # the computation is another one
    np.testing.assert_allclose(rounded, exact, rtol=0.01)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}


def test_uint8_images_are_scaled(params):
    model = mlp_vae(CONFIG)
    whole = (IMAGES * 255).astype(np.uint8)
    np.testing.assert_allclose(
        model.loss(params, whole, KEY), model.loss(params, whole / np.float32(255), KEY), rtol=1e-6
    )


def test_init_under_vmap_equals_init(params):
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    together = jax.jit(jax.vmap(mlp_vae(CONFIG).init))(keys)
    jax.tree.map(lambda t, p: np.testing.assert_allclose(t[1], p, rtol=1e-6), together, params)
    assert not np.array_equal(*together["encoder"]["layers"][0]["kernel"])


def test_params_are_dict_of_arrays(params):
    assert type(params) is dict
    assert set(params) == {"encoder", "decoder"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


def test_default_sizes():
    shapes = jax.eval_shape(mlp_vae().init, KEY)
    kernels = [layer["kernel"].shape for part in ("encoder", "decoder")
               for _, layer in sorted(shapes[part]["layers"].items())]  # fmt: skip
    assert kernels == [(784, 400), (400, 400), (400, 40), (20, 400), (400, 400), (400, 784)]


def test_default_config_is_one_model():
    assert mlp_vae() is mlp_vae(MLPVAEConfig()) is mlp_vae(config=MLPVAEConfig())


def test_one_config_is_one_model():
    assert mlp_vae(MLPVAEConfig((4, 4, 1), (12,), 3)) is mlp_vae(CONFIG)


def test_image_shape_is_checked(params):
    with pytest.raises(ValueError, match=r"images.*\[n, 4, 4, 1\].*got \[2, 8, 8, 1\]"):
        mlp_vae(CONFIG).encode(params, np.zeros((2, 8, 8, 1), np.float32))


def test_bind_leaks_nothing(params):
    init, bind = functional(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    params = init(KEY)
    with jax.checking_leaks():
        bound = jax.jit(lambda params, x: bind(params)(x))(params, jnp.ones((1, 2)))
    np.testing.assert_allclose(bound, params["kernel"].sum(0)[None] + params["bias"], rtol=1e-6)
