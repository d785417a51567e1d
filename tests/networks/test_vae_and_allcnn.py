import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import special, stats

from gsu_jax.models import AllCNNConfig, MLPVAEConfig
from gsu_jax.networks import allcnn, mlp_vae
from gsu_jax.networks._functional import functional

CONFIG = MLPVAEConfig((4, 4, 1), (12,), 3)
GAUSSIAN = MLPVAEConfig((4, 4, 1), (12,), 3, likelihood="gaussian", variance=0.05)
IMAGES = np.random.default_rng(0).random((6, 4, 4, 1)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return jax.jit(mlp_vae(CONFIG).init)(jax.random.key(1))


@pytest.fixture(scope="module")
def judge():
    judge = allcnn(AllCNNConfig(classes=3, widths=(4, 6), dropout=0.5))
    # Not judge.init: to compile the draws of nine layers takes longer than this whole file.
    rng, shapes = np.random.default_rng(0), jax.eval_shape(judge.init, KEY)
    return judge, jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes)


# The MLP VAE


def forward(layers, x):
    """Linear layers with ReLU between them, in NumPy."""
    for number, layer in sorted(layers["layers"].items()):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
        x = x if number == max(layers["layers"]) else np.maximum(x, 0)
    return x


def test_encoder_and_decoder_are_the_formula(params):
    model = mlp_vae(CONFIG)
    mean, log_variance = np.split(forward(params["encoder"], IMAGES.reshape(6, -1)), 2, axis=-1)
    np.testing.assert_allclose(model.encode(params, IMAGES)[0], mean, atol=1e-5)
    np.testing.assert_allclose(model.encode(params, IMAGES)[1], log_variance, atol=1e-5)
    decoded = forward(params["decoder"], mean).reshape(6, 4, 4, 1)
    found = model.decode(params, jnp.asarray(mean, jnp.float32))
    np.testing.assert_allclose(found, decoded, atol=1e-5)
    np.testing.assert_allclose(model.mean(found), special.expit(decoded), atol=1e-5)


def test_bernoulli_likelihood_is_that_of_the_decoded_logits(params):
    model = mlp_vae(CONFIG)
    logits = np.random.default_rng(1).normal(size=IMAGES.shape).astype(np.float32)
    share = special.expit(logits.astype(np.float64))
    expected = (IMAGES * np.log(share) + (1 - IMAGES) * np.log1p(-share)).reshape(6, -1).sum(-1)
    np.testing.assert_allclose(model.log_likelihood(logits, IMAGES), expected, rtol=1e-5)


def test_gaussian_likelihood_is_that_of_its_mean_in_the_unit_interval(params):
    model = mlp_vae(GAUSSIAN)
    decoded = model.decode(params, 30.0 * jax.random.normal(KEY, (6, 3)))
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    np.testing.assert_array_equal(model.mean(decoded), decoded)
    expected = stats.norm(np.asarray(decoded, np.float64), np.sqrt(0.05)).logpdf(IMAGES)
    found = model.log_likelihood(decoded, IMAGES)
    np.testing.assert_allclose(found, expected.reshape(6, -1).sum(-1), rtol=1e-5)


def test_beta_weighs_the_kl_alone(params):
    loss = {
        beta: mlp_vae(MLPVAEConfig((4, 4, 1), (12,), 3, beta=beta)).loss(params, IMAGES, KEY)
        for beta in (0.0, 1.0, 4.0)
    }
    assert loss[1.0] > loss[0.0]
    np.testing.assert_allclose(loss[4.0] - loss[0.0], 4 * (loss[1.0] - loss[0.0]), rtol=1e-3)


def test_samples_are_images_and_follow_the_key(params):
    model = mlp_vae(CONFIG)
    first, again, other = (model.sample(params, jax.random.key(k), 5) for k in (3, 3, 4))
    assert first.shape == (5, 4, 4, 1)
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_bfloat16_compute_keeps_float32_parameters_and_a_loss_near_that_of_float32(params):
    half = mlp_vae(MLPVAEConfig((4, 4, 1), (12,), 3, dtype="bfloat16"))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(half.init, KEY))}
    assert dtypes == {jnp.dtype(jnp.float32)}
    exact = mlp_vae(CONFIG).loss(params, IMAGES, KEY)
    rounded, grads = jax.jit(jax.value_and_grad(half.loss))(params, IMAGES, KEY)
    assert rounded.dtype == jnp.float32
    assert rounded != exact  # the computation is another one
    np.testing.assert_allclose(rounded, exact, rtol=0.01)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.float32)}


def test_uint8_images_are_their_255th_part(params):
    model = mlp_vae(CONFIG)
    whole = (IMAGES * 255).astype(np.uint8)
    np.testing.assert_allclose(
        model.loss(params, whole, KEY), model.loss(params, whole / np.float32(255), KEY), rtol=1e-6
    )


def test_seeds_initialised_together_are_those_initialised_alone(params):
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    together = jax.jit(jax.vmap(mlp_vae(CONFIG).init))(keys)
    jax.tree.map(lambda t, p: np.testing.assert_allclose(t[1], p, rtol=1e-6), together, params)
    assert not np.array_equal(*together["encoder"]["layers"][0]["kernel"])


def test_parameters_are_a_plain_dict_of_arrays(params):
    assert type(params) is dict
    assert set(params) == {"encoder", "decoder"}
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


def test_the_papers_model_has_its_sizes():
    shapes = jax.eval_shape(mlp_vae().init, KEY)
    kernels = [layer["kernel"].shape for part in ("encoder", "decoder")
               for _, layer in sorted(shapes[part]["layers"].items())]  # fmt: skip
    assert kernels == [(784, 400), (400, 400), (400, 40), (20, 400), (400, 400), (400, 784)]


def test_one_config_is_one_model_so_that_compiled_programs_are_found_again():
    assert mlp_vae(MLPVAEConfig((4, 4, 1), (12,), 3)) is mlp_vae(CONFIG)


def test_images_of_another_shape_are_refused_with_both_shapes(params):
    with pytest.raises(ValueError, match=r"must be \[n, 4, 4, 1\] .*, found \[2, 8, 8, 1\]"):
        mlp_vae(CONFIG).encode(params, np.zeros((2, 8, 8, 1), np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (28, 28)}, "image_shape must be .height, width, channels., found"),
        ({"image_shape": (28, 0, 1)}, "image_shape must hold positive sizes"),
        ({"widths": ()}, "widths must hold positive sizes"),
        ({"latent_size": 0}, "latent_size must be at least 1, found 0"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"variance": 0.0}, "variance above 0"),
        ({"likelihood": "poisson"}, "bernoulli or gaussian, not 'poisson'"),
        ({"dtype": "float8"}, "float32 or bfloat16, not 'float8'"),
    ],
)
def test_a_vae_that_cannot_be_built_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MLPVAEConfig(**settings)


# The judge


@pytest.mark.parametrize("size", [8, 28])
def test_the_judge_takes_images_of_any_size(judge, size):
    judge, params = judge
    prediction = jax.eval_shape(judge.apply, params, jnp.zeros((5, size, size, 1)))
    assert prediction.logits.shape == (5, 3)
    assert prediction.features.shape == (5, 6)


@pytest.mark.parametrize("side", [8, 7])
def test_judge_is_the_network_of_lax_convolutions(judge, side):
    judge, params = judge
    images = np.random.default_rng(0).random((2, side, side, 1)).astype(np.float32)

    @jax.jit
    def by_convolutions(params, x):
        def convolve(x, layer, stride=1):
            return layer["bias"] + lax.conv_general_dilated(
                x, layer["kernel"], (stride, stride), "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip

        for stack in ("first", "second"):
            for number, stride in ((0, 1), (1, 1), (2, 2)):
                x = jax.nn.relu(convolve(x, params[stack][number], stride))
        for number in (0, 1):
            x = jax.nn.relu(convolve(x, params["third"][number]))
        return convolve(x, params["last"]).mean((1, 2)), x.mean((1, 2))

    found, expected = jax.jit(judge.apply)(params, images), by_convolutions(params, images)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_judge_trains_without_a_convolution(judge):
    judge, params = judge
    batch = np.zeros((2, 8, 8, 1), np.float32), np.array([0, 1])
    assert "conv_general_dilated" not in str(
        jax.make_jaxpr(jax.grad(judge.loss))(params, batch, KEY)
    )


def test_the_judge_names_its_features(judge):
    assert judge[0].features == "AllCNN-4-6, 6 penultimate features"


def test_the_judge_looks_at_its_images(judge):
    judge, params = judge
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    logits = jax.jit(judge.apply)(params, images).logits
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


def test_dropout_is_for_training_alone(judge):
    judge, params = judge
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    apply, train = jax.jit(judge.apply), jax.jit(judge.train_apply)
    np.testing.assert_array_equal(apply(params, images).logits, apply(params, images).logits)
    first, again, other = (train(params, images, jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_without_dropout_training_sees_what_judging_sees(judge):
    params = judge[1]
    plain = allcnn(AllCNNConfig(classes=3, widths=(4, 6)))
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    logits = jax.jit(plain.apply)(params, images).logits
    np.testing.assert_allclose(jax.jit(plain.train_apply)(params, images, KEY), logits, rtol=1e-6)


def test_the_judges_loss_is_the_cross_entropy_of_its_logits(judge):
    judge, params = allcnn(AllCNNConfig(classes=3, widths=(4, 6))), judge[1]
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    labels = np.array([2, 0])
    logits = np.asarray(jax.jit(judge.apply)(params, images).logits, np.float64)
    expected = -special.log_softmax(logits, -1)[[0, 1], labels].mean()
    found = jax.jit(judge.loss)(params, (images, labels), KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "at least 2 classes"),
        ({"classes": 3, "widths": (0, 4)}, r"positive channels and widths, found .*\(0, 4\)"),
        ({"classes": 3, "dropout": 1.0}, r"dropout must be in \[0, 1\), found 1.0"),
    ],
)
def test_a_judge_that_cannot_be_built_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AllCNNConfig(**settings)


# The edge to Flax


def test_binding_parameters_leaves_nothing_behind(params):
    from flax import nnx

    init, bind = functional(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    params = init(KEY)
    with jax.checking_leaks():
        bound = jax.jit(lambda params, x: bind(params)(x))(params, jnp.ones((1, 2)))
    np.testing.assert_allclose(bound, params["kernel"].sum(0)[None] + params["bias"], rtol=1e-6)
