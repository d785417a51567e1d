"""Losses over masked batches, and the losses that methods raise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def row_mean(params, images, key):
    """A loss that shows which rows it saw; an image of -1 makes it NaN."""
    del key
    value = images.reshape(len(images), -1).mean(-1)
    return (params * jnp.where(value < 0, jnp.nan, value)).mean()


def test_masked_mean_ignores_masked_nans():
    values, mask = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([1.0, 0.0, 1.0])
    value, grads = jax.value_and_grad(masked.masked_mean)(values, mask)
    assert value == 2.0
    np.testing.assert_array_equal(grads, [0.5, 0.0, 0.5])


def test_empty_mask_gives_zero():
    assert masked.masked_mean(jnp.array([1.0, 2.0]), jnp.zeros(2)) == 0.0


def test_masked_loss_is_loss_of_unmasked_rows():
    mask = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0])
    value_and_grad = jax.value_and_grad(masked.over_masked(row_mean))
    found = value_and_grad(2.0, MaskedBatch(jnp.asarray(IMAGES), mask), KEY)
    expected = jax.value_and_grad(row_mean)(2.0, IMAGES[[0, 2, 3]], KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_masked_nan_row_changes_no_loss():
    images = jnp.concatenate([IMAGES[:2], -jnp.ones((1, 3, 3, 1))])
    padded = MaskedBatch(images, jnp.array([1.0, 1.0, 0.0]))
    seen = MaskedBatch(images, jnp.ones(3))
    masked_loss = masked.over_masked(row_mean)
    assert jnp.isnan(masked_loss(1.0, seen, KEY))
    np.testing.assert_allclose(masked_loss(1.0, padded, KEY), row_mean(1.0, IMAGES[:2], KEY))


def test_loss_per_image_sees_the_whole_batch_and_the_mask():
    """Images share the noise of a batch; the loss of another kind does not."""

    def per_image(params, images, key):
        return params * jnp.arange(len(images)) * jax.random.uniform(key)

    def loss(params, images, key):
        return per_image(params, images, key).mean()

    model = GenerativeModel(init=None, loss=loss, sample=None, per_image_loss=per_image)
    batch = MaskedBatch(jnp.asarray(IMAGES), jnp.array([1.0, 1.0, 1.0, 0.0, 0.0]))
    found = masked.over_masked(model.loss, model)(2.0, batch, KEY)
    np.testing.assert_allclose(found, 2.0 * jax.random.uniform(KEY), rtol=1e-6)
    other = masked.over_masked(row_mean, model)(2.0, batch, KEY)
    np.testing.assert_allclose(other, row_mean(2.0, IMAGES[:3], KEY), rtol=1e-6)


def test_masked_row_changes_no_gradient(vae):
    model, params = vae
    grad = jax.jit(jax.grad(masked.over_masked(model.loss)))
    mask = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    other = jnp.asarray(IMAGES).at[3:].set(1.0)
    ours, theirs = (grad(params, MaskedBatch(x, mask), KEY) for x in (jnp.asarray(IMAGES), other))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_rows_have_their_own_noise():
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
def test_held_posterior_gives_encoder_no_gradient(vae, loss):
    model, params = vae
    chosen = masked.training_loss(model, loss, "decoder")
    encoder, decoder = encoder_and_decoder(jax.grad(chosen)(params, IMAGES, KEY))
    np.testing.assert_array_equal(encoder, 0.0)
    assert np.abs(decoder).max() > 0.01


def test_held_posterior_keeps_decoder_gradient(vae):
    model, params = vae
    held = jax.grad(masked.training_loss(model, "elbo", "decoder"))(params, IMAGES, KEY)
    whole = jax.grad(model.loss)(params, IMAGES, KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        held["decoder"],
        whole["decoder"],
    )


def test_reconstruction_is_elbo_without_kl(vae):
    model, params = vae
    reconstruction = masked.training_loss(model, "reconstruction", "model")
    kl = losses.elbo_terms(model, params, IMAGES, KEY).kl.mean()
    elbo = model.loss(params, IMAGES, KEY)
    np.testing.assert_allclose(reconstruction(params, IMAGES, KEY), elbo - 0.5 * kl, rtol=1e-5)
    assert kl > 0.001
    encoder, _ = encoder_and_decoder(jax.grad(reconstruction)(params, IMAGES, KEY))
    assert np.abs(encoder).max() > 1e-4


def test_elbo_through_model_is_training_loss(vae):
    assert masked.training_loss(vae[0], "elbo", "model") is vae[0].loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("elbow", "model"), "loss.*'elbow'"),
        (("elbo", "encoder"), "through.*'encoder'"),
    ],
)
def test_unknown_choices_are_refused(vae, arguments, message):
    with pytest.raises(ValueError, match=message):
        masked.training_loss(vae[0], *arguments)


def test_model_without_latents_is_refused():
    model = GenerativeModel(init=None, loss=row_mean, sample=None)
    assert masked.training_loss(model, "elbo", "model") is row_mean
    with pytest.raises(ValueError, match=r"salad.*no encode, decode"):
        masked.training_loss(model, "reconstruction", "model", needed_by="salad")
