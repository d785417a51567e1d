import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gsu_jax.methods.ingredients import MaskedBatch
from gsu_jax.methods.ingredients import _losses as masked
from gsu_jax.models import GenerativeModel, MLPVAEConfig
from gsu_jax.models import _elbo as losses
from gsu_jax.networks import mlp_vae

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 3, 3, 1)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def vae():
    model = mlp_vae(MLPVAEConfig((3, 3, 1), (6,), 2, beta=0.5))
    return model, model.init(jax.random.key(1))


# The terms of the ELBO


def test_kl_is_the_integral_that_defines_it():
    mean, log_variance = np.array([[0.3, -1.2]]), np.array([[-1.0, 0.4]])

    def one_dimension(m, v):
        q = stats.norm(m, np.exp(v / 2))
        return integrate.quad(
            lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), m - 12, m + 12
        )[0]

    expected = sum(map(one_dimension, mean[0], log_variance[0]))
    kl = losses.kl_to_standard_normal(jnp.asarray(mean), jnp.asarray(log_variance))
    np.testing.assert_allclose(kl, [expected], rtol=1e-5)


def test_kl_of_the_prior_is_zero_and_of_bfloat16_is_taken_in_float32():
    zero = jnp.zeros((2, 3), jnp.bfloat16)
    kl = losses.kl_to_standard_normal(zero, zero)
    assert kl.dtype == jnp.float32
    np.testing.assert_array_equal(kl, [0.0, 0.0])


def test_bernoulli_log_likelihood_is_scipys_cross_entropy():
    logits = RNG.normal(0, 3, IMAGES.shape)
    share = special.expit(logits)
    expected = special.xlogy(IMAGES, share) + special.xlogy(1 - IMAGES, 1 - share)
    found = losses.bernoulli_log_likelihood(jnp.asarray(logits, jnp.float32), IMAGES)
    np.testing.assert_allclose(found, expected.reshape(5, -1).sum(-1), rtol=1e-5)


def test_bernoulli_log_likelihood_stays_exact_at_large_logits():
    logits = jnp.array([200.0, -200.0]).reshape(1, 2, 1, 1)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    found = [
        losses.bernoulli_log_likelihood(logits, x.reshape(1, 2, 1, 1))[0] for x in (right, wrong)
    ]
    np.testing.assert_allclose(found, [0.0, -400.0])


def test_gaussian_log_likelihood_is_scipys():
    mean, variance = RNG.random(IMAGES.shape), 0.02
    expected = stats.norm(mean, np.sqrt(variance)).logpdf(IMAGES).reshape(5, -1).sum(-1)
    found = losses.gaussian_log_likelihood(jnp.asarray(mean, jnp.float32), IMAGES, variance)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_uint8_images_have_the_likelihood_of_their_255th_part():
    whole = RNG.integers(0, 256, IMAGES.shape, dtype=np.uint8)
    logits = jnp.asarray(RNG.normal(size=IMAGES.shape), jnp.float32)
    np.testing.assert_allclose(
        losses.bernoulli_log_likelihood(logits, whole),
        losses.bernoulli_log_likelihood(logits, whole / np.float32(255)),
        rtol=1e-6,
    )


def test_posterior_samples_have_its_mean_and_variance():
    shape = (20_000, 2)
    mean, log_variance = jnp.full(shape, 2.0), jnp.full(shape, jnp.log(0.25))
    z = losses.sample_posterior(mean, log_variance, KEY)
    np.testing.assert_allclose(z.mean(0), 2.0, atol=0.02)
    np.testing.assert_allclose(z.std(0), 0.5, atol=0.02)


def test_elbo_terms_add_up_to_the_models_loss(vae):
    model, params = vae
    terms = losses.elbo_terms(model, params, IMAGES, KEY)
    assert terms.reconstruction.shape == terms.kl.shape == (5,)
    np.testing.assert_allclose(
        model.loss(params, IMAGES, KEY),
        (terms.reconstruction + 0.5 * terms.kl).mean(),
        rtol=1e-6,
    )


# Masks


def row_mean(params, images, key):
    """A loss that shows which rows it saw; an image of -1 makes it NaN."""
    del key
    value = images.reshape(len(images), -1).mean(-1)
    return (params * jnp.where(value < 0, jnp.nan, value)).mean()


def test_a_masked_mean_ignores_masked_nans_in_value_and_gradient():
    values, mask = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([1.0, 0.0, 1.0])
    value, grads = jax.value_and_grad(masked.masked_mean)(values, mask)
    assert value == 2.0
    np.testing.assert_array_equal(grads, [0.5, 0.0, 0.5])


def test_a_mask_without_ones_gives_zero():
    assert masked.masked_mean(jnp.array([1.0, 2.0]), jnp.zeros(2)) == 0.0


def test_a_masked_loss_is_the_loss_of_the_unmasked_rows():
    mask = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0])
    value_and_grad = jax.value_and_grad(masked.over_masked(row_mean))
    found = value_and_grad(2.0, MaskedBatch(jnp.asarray(IMAGES), mask), KEY)
    expected = jax.value_and_grad(row_mean)(2.0, IMAGES[[0, 2, 3]], KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_masked_row_with_a_nan_loss_changes_nothing():
    images = jnp.concatenate([IMAGES[:2], -jnp.ones((1, 3, 3, 1))])
    masked = MaskedBatch(images, jnp.array([1.0, 1.0, 0.0]))
    seen = MaskedBatch(images, jnp.ones(3))
    masked_loss = masked.over_masked(row_mean)
    assert jnp.isnan(masked_loss(1.0, seen, KEY))
    np.testing.assert_allclose(masked_loss(1.0, masked, KEY), row_mean(1.0, IMAGES[:2], KEY))


def test_a_masked_row_changes_no_gradient_whatever_its_image(vae):
    model, params = vae
    grad = jax.jit(jax.grad(masked.over_masked(model.loss)))
    mask = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    other = jnp.asarray(IMAGES).at[3:].set(1.0)
    ours, theirs = (grad(params, MaskedBatch(x, mask), KEY) for x in (jnp.asarray(IMAGES), other))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_rows_of_a_masked_batch_have_noise_of_their_own():
    def noise(params, images, key):
        return jax.random.normal(key)

    def value(row):
        mask = jnp.zeros(5).at[row].set(1.0)
        return float(masked.over_masked(noise)(0.0, MaskedBatch(jnp.asarray(IMAGES), mask), KEY))

    assert len({value(row) for row in range(5)}) == 5


# The losses that methods raise


def encoder_and_decoder(grads):
    return [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads[part])])
            for part in ("encoder", "decoder")]  # fmt: skip


@pytest.mark.parametrize("loss", ["elbo", "reconstruction"])
def test_a_held_posterior_gives_the_encoder_exactly_no_gradient(vae, loss):
    model, params = vae
    chosen = masked.training_loss(model, loss, "decoder")
    encoder, decoder = encoder_and_decoder(jax.grad(chosen)(params, IMAGES, KEY))
    np.testing.assert_array_equal(encoder, 0.0)
    assert np.abs(decoder).max() > 0.01


def test_a_held_posterior_leaves_the_decoder_the_gradient_of_the_whole_elbo(vae):
    model, params = vae
    held = jax.grad(masked.training_loss(model, "elbo", "decoder"))(params, IMAGES, KEY)
    whole = jax.grad(model.loss)(params, IMAGES, KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        held["decoder"],
        whole["decoder"],
    )


def test_reconstruction_is_the_elbo_without_its_kl(vae):
    model, params = vae
    reconstruction = masked.training_loss(model, "reconstruction", "model")
    kl = losses.elbo_terms(model, params, IMAGES, KEY).kl.mean()
    elbo = model.loss(params, IMAGES, KEY)
    np.testing.assert_allclose(reconstruction(params, IMAGES, KEY), elbo - 0.5 * kl, rtol=1e-5)
    assert kl > 0.001
    encoder, _ = encoder_and_decoder(jax.grad(reconstruction)(params, IMAGES, KEY))
    assert np.abs(encoder).max() > 1e-4


def test_the_elbo_of_the_whole_model_is_its_training_loss(vae):
    assert masked.training_loss(vae[0], "elbo", "model") is vae[0].loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("elbow", "model"), "loss must be one of elbo, reconstruction, found 'elbow'"),
        (("elbo", "encoder"), "through must be one of model, decoder, found 'encoder'"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(vae, arguments, message):
    with pytest.raises(ValueError, match=message):
        masked.training_loss(vae[0], *arguments)


def test_a_model_without_latents_is_told_what_it_lacks():
    model = GenerativeModel(init=None, loss=row_mean, sample=None)
    assert masked.training_loss(model, "elbo", "model") is row_mean
    with pytest.raises(ValueError, match=r"salad needs a model with encode.*has no encode, decode"):
        masked.training_loss(model, "reconstruction", "model", needed_by="salad")
