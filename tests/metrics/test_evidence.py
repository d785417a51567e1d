"""The evidence of the decoder against the closed form of probabilistic PCA."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import MODEL, NOISE, PARAMS, SHAPE

from gsu_jax.metrics import decoder_evidence, evidence_metrics, listed_images, negative_elbo

KEY = jax.random.key(4)
BROKEN = PARAMS | {"encoder": -3 * PARAMS["encoder"]}


def images(n: int) -> np.ndarray:
    """Draws of p(x), with their noise."""
    rng = np.random.default_rng(2)
    mean = rng.normal(size=(n, 2)) @ PARAMS["decoder"] + PARAMS["bias"]
    return (mean + NOISE * rng.normal(size=mean.shape)).reshape(n, *SHAPE).astype(np.float32)


def log_evidence(x: np.ndarray) -> np.ndarray:
    """Returns log N(x; b, W^T W + NOISE^2 I)."""
    decoder, bias = (PARAMS[name].astype(np.float64) for name in ("decoder", "bias"))
    covariance = decoder.T @ decoder + NOISE**2 * np.eye(6)
    away = x.reshape(len(x), -1) - bias
    squared = np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away)
    return -0.5 * (squared + np.linalg.slogdet(2 * np.pi * covariance)[1])


def true_posterior(params, x):
    """Of the mean exactly; the covariance is nearly diagonal."""
    precision = np.eye(2) + PARAMS["decoder"] @ PARAMS["decoder"].T / NOISE**2
    away = x.reshape(len(x), -1) - params["bias"]
    mean = away @ params["decoder"].T @ jnp.linalg.inv(precision) / NOISE**2
    return mean, jnp.broadcast_to(-jnp.log(jnp.diag(precision)), mean.shape)


def far_away(params, x):
    mean, log_variance = true_posterior(params, x)
    return mean + 30, log_variance


TRUE_POSTERIOR = dataclasses.replace(MODEL, encode=true_posterior)


@pytest.fixture(scope="module")
def found():
    return decoder_evidence(MODEL, PARAMS, images(70), KEY)


def test_phi_is_the_log_evidence_of_the_decoder(found):
    exact = log_evidence(images(70))
    assert exact.std() > 1
    np.testing.assert_allclose(found.phi, exact, atol=0.1)
    assert found.phi.mean() == pytest.approx(exact.mean(), abs=0.02)
    assert found.phi.dtype == np.float64


def test_weights_of_a_fitted_posterior_are_nearly_equal(found):
    assert found.effective_samples.min() > 256
    assert found.effective_samples.max() <= 512


def test_phi_lies_above_the_elbo(found):
    elbo = -negative_elbo(MODEL, PARAMS, images(70), KEY, samples=64)
    assert (found.phi > elbo).all()


def test_a_broken_encoder_moves_its_own_evidence_alone():
    # With few draws, since in two dimensions 51 of the prior are enough for any encoder.
    true, broken = (
        decoder_evidence(m, PARAMS, images(70), KEY, samples=64)
        for m in (TRUE_POSTERIOR, dataclasses.replace(MODEL, encode=far_away))
    )
    np.testing.assert_allclose(broken.phi, true.phi, atol=0.1)
    assert broken.phi.mean() == pytest.approx(true.phi.mean(), abs=0.01)
    assert abs(true.encoder_gap.mean()) < 0.02
    assert broken.encoder_gap.mean() > 1


def test_an_encoder_that_overflows_leaves_phi():
    wild = PARAMS | {"encoder": np.float32(1e38) * PARAMS["encoder"]}
    found = decoder_evidence(MODEL, wild, images(5), KEY)
    np.testing.assert_allclose(found.phi, log_evidence(images(5)), atol=0.1)


def test_noise_is_that_of_the_image_and_not_of_the_model(found):
    # One image in every place: its estimate differs from place to place by the noise alone.
    x = np.repeat(images(1), 40, axis=0)
    one, other = (decoder_evidence(MODEL, p, x, KEY, samples=32).phi for p in (PARAMS, BROKEN))
    assert one.std() > 0.01
    assert np.std(one - other) < one.std() / 4


def test_the_same_call_gives_the_same_bits_and_another_key_others(found):
    again = decoder_evidence(MODEL, PARAMS, images(70), KEY)
    for one, two in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, two)
    other = decoder_evidence(MODEL, PARAMS, images(70), jax.random.key(5))
    assert (other.phi != found.phi).any()


@pytest.mark.parametrize("n", [1, 64, 65])
def test_images_that_follow_do_not_change_the_bits(found, n):
    fewer = decoder_evidence(MODEL, PARAMS, images(70)[:n], KEY)
    for one, all_ in zip(fewer, found, strict=True):
        np.testing.assert_array_equal(one, all_[:n])


def test_any_number_of_images_and_any_parameters_compile_once():
    traces = []

    def encode(params, x):
        traces.append(x.shape)
        return MODEL.encode(params, x)

    counting = dataclasses.replace(MODEL, encode=encode)
    for n, params in ((3, PARAMS), (70, BROKEN)):
        decoder_evidence(counting, params, images(n), KEY, samples=16, steps=2)
    assert traces == [(64, *SHAPE)]


def test_uint8_images_are_scaled():
    whole = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)
    found, expected = (
        decoder_evidence(MODEL, PARAMS, x, KEY).phi for x in (whole, whole.astype(np.float32) / 255)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_errors_name_what_is_missing():
    sampler = dataclasses.replace(MODEL, decode=None)
    with pytest.raises(ValueError, match=r"decoder_evidence.*decode"):
        decoder_evidence(sampler, PARAMS, images(2), KEY)
    with pytest.raises(ValueError, match="images is empty"):
        decoder_evidence(MODEL, PARAMS, images(2)[:0], KEY)
    with pytest.raises(ValueError, match=r"steps.*got 0"):
        decoder_evidence(MODEL, PARAMS, images(2), KEY, steps=0)
    with pytest.raises(ValueError, match=r"samples.*got 9"):
        decoder_evidence(MODEL, PARAMS, images(2), KEY, samples=9)


# The metrics of a row


def test_row_has_the_means_of_both_kinds():
    x, forgotten = images(70), np.arange(70) % 5 == 0
    row = evidence_metrics(MODEL, PARAMS, x, forgotten)
    exact = log_evidence(x)
    assert row["phi_retain"] == pytest.approx(exact[~forgotten].mean(), abs=0.05)
    assert row["phi_forget"] == pytest.approx(exact[forgotten].mean(), abs=0.05)
    assert row["encoder_gap"] == pytest.approx(0, abs=0.2)
    assert row["phi_flagged"] == 0
    assert all(type(value) is float for value in row.values())


def test_row_takes_images_evenly_spaced():
    x, forgotten = images(70), np.arange(70) >= 40
    row = evidence_metrics(MODEL, PARAMS, x, forgotten, images=2)
    exact = log_evidence(x)
    assert row["phi_retain"] == pytest.approx(exact[[0, 39]].mean(), abs=0.1)
    assert row["phi_forget"] == pytest.approx(exact[[40, 69]].mean(), abs=0.1)


def test_row_of_listed_images_is_theirs():
    x, labels = images(70), np.zeros(70, int)
    listed = listed_images(x[:3], labels[:3], labels)
    row = evidence_metrics(MODEL, PARAMS, x[3:], np.zeros(67, bool), listed)
    assert row["phi_forget"] == pytest.approx(log_evidence(x[:3]).mean(), abs=0.1)


def test_row_has_none_for_what_a_model_or_the_images_cannot_give():
    x, none = images(4), np.zeros(4, bool)
    sampler = dataclasses.replace(MODEL, encode=None)
    assert set(evidence_metrics(sampler, PARAMS, x, none).values()) == {None}
    assert set(evidence_metrics(MODEL, PARAMS, x, none, images=0).values()) == {None}
    row = evidence_metrics(MODEL, PARAMS, x, none)
    assert row["phi_retain"] is not None
    assert row["phi_forget"] is row["encoder_gap"] is None
