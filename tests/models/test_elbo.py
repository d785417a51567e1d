"""The terms of the ELBO, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from gsu_jax.models import MLPVAEConfig
from gsu_jax.models import _elbo as losses
from gsu_jax.networks import mlp_vae

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 3, 3, 1)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def vae():
    model = mlp_vae(MLPVAEConfig((3, 3, 1), (6,), 2, beta=0.5))
    return model, model.init(jax.random.key(1))


def test_kl_equals_its_integral():
    mean, log_variance = np.array([[0.3, -1.2]]), np.array([[-1.0, 0.4]])

    def one_dimension(m, v):
        q = stats.norm(m, np.exp(v / 2))
        return integrate.quad(
            lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), m - 12, m + 12
        )[0]

    expected = sum(map(one_dimension, mean[0], log_variance[0]))
    kl = losses.kl_to_standard_normal(jnp.asarray(mean), jnp.asarray(log_variance))
    np.testing.assert_allclose(kl, [expected], rtol=1e-5)


def test_kl_of_prior_is_zero_in_float32():
    zero = jnp.zeros((2, 3), jnp.bfloat16)
    kl = losses.kl_to_standard_normal(zero, zero)
    assert kl.dtype == jnp.float32
    np.testing.assert_array_equal(kl, [0.0, 0.0])


def test_bernoulli_log_likelihood_equals_scipy():
    logits = RNG.normal(0, 3, IMAGES.shape)
    share = special.expit(logits)
    expected = special.xlogy(IMAGES, share) + special.xlogy(1 - IMAGES, 1 - share)
    found = losses.bernoulli_log_likelihood(jnp.asarray(logits, jnp.float32), IMAGES)
    np.testing.assert_allclose(found, expected.reshape(5, -1).sum(-1), rtol=1e-5)


def test_bernoulli_log_likelihood_at_large_logits():
    logits = jnp.array([200.0, -200.0]).reshape(1, 2, 1, 1)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    found = [
        losses.bernoulli_log_likelihood(logits, x.reshape(1, 2, 1, 1))[0] for x in (right, wrong)
    ]
    np.testing.assert_allclose(found, [0.0, -400.0])


def test_gaussian_log_likelihood_equals_scipy():
    mean, variance = RNG.random(IMAGES.shape), 0.02
    expected = stats.norm(mean, np.sqrt(variance)).logpdf(IMAGES).reshape(5, -1).sum(-1)
    found = losses.gaussian_log_likelihood(jnp.asarray(mean, jnp.float32), IMAGES, variance)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_uint8_images_are_scaled():
    whole = RNG.integers(0, 256, IMAGES.shape, dtype=np.uint8)
    logits = jnp.asarray(RNG.normal(size=IMAGES.shape), jnp.float32)
    np.testing.assert_allclose(
        losses.bernoulli_log_likelihood(logits, whole),
        losses.bernoulli_log_likelihood(logits, whole / np.float32(255)),
        rtol=1e-6,
    )


def test_posterior_samples_have_mean_and_variance():
    shape = (20_000, 2)
    mean, log_variance = jnp.full(shape, 2.0), jnp.full(shape, jnp.log(0.25))
    z = losses.sample_posterior(mean, log_variance, KEY)
    np.testing.assert_allclose(z.mean(0), 2.0, atol=0.02)
    np.testing.assert_allclose(z.std(0), 0.5, atol=0.02)


def test_elbo_terms_sum_to_loss(vae):
    model, params = vae
    terms = losses.elbo_terms(model, params, IMAGES, KEY)
    assert terms.reconstruction.shape == terms.kl.shape == (5,)
    np.testing.assert_allclose(
        model.loss(params, IMAGES, KEY),
        (terms.reconstruction + 0.5 * terms.kl).mean(),
        rtol=1e-6,
    )
