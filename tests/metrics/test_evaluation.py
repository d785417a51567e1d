"""Metrics of whole models: hand-made ones, whose answers are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.metrics import (
    METRICS,
    evaluate,
    feature_ratio,
    judge_predictions,
    make_reference,
    negative_elbo,
)
from gsu_jax.models import Classifier, GenerativeModel, Prediction

NOISE = 0.3
SHAPE = (2, 3, 1)


def linear_model():
    """Draws x = W z + b + N(0, NOISE^2), and q(z|x) = N(V x, exp(s)): everything in closed form."""

    def encode(params, images):
        mean = images.reshape(len(images), -1) @ params["encoder"]
        return mean, jnp.broadcast_to(params["log_variance"], mean.shape)

    def decode(params, z):
        return z @ params["decoder"] + params["bias"]

    def log_likelihood(decoded, images):
        residual = images.reshape(len(images), -1) - decoded
        variance = NOISE**2
        return -0.5 * (jnp.square(residual) / variance + jnp.log(2 * jnp.pi * variance)).sum(1)

    def init(key):
        encoder, decoder = jax.random.split(key)
        return {
            "encoder": jax.random.normal(encoder, (6, 2)),
            "decoder": 0.3 * jax.random.normal(decoder, (2, 6)),
            "bias": jnp.full(6, 0.5),
            "log_variance": jnp.array([-2.0, -1.0]),
        }

    return GenerativeModel(
        init=init,
        loss=lambda params, images, key: jnp.zeros(()),
        sample=lambda params, key, n: decode(params, jax.random.normal(key, (n, 2))).reshape(
            n, *SHAPE
        ),
        encode=encode,
        decode=decode,
        log_likelihood=log_likelihood,
    )


def threshold_judge():
    """Class 1 where the mean of an image is over one half; features: its pixels."""

    def apply(params, images):
        pixels = images.reshape(len(images), -1)
        score = params["scale"] * (pixels.mean(1) - 0.5)
        return Prediction(jnp.stack([-score, score], 1), pixels)

    return Classifier(init=lambda key: {"scale": jnp.array(50.0)}, apply=apply, features="6 pixels")


MODEL, JUDGE = linear_model(), threshold_judge()
PARAMS, JUDGE_PARAMS = MODEL.init(jax.random.key(0)), JUDGE.init(jax.random.key(1))
TEST_IMAGES = np.asarray(MODEL.sample(PARAMS, jax.random.key(2), 500))
TEST_LABELS = np.asarray(TEST_IMAGES.mean((1, 2, 3)) > 0.5, int)


@pytest.fixture(scope="module")
def reference():
    return make_reference(
        JUDGE, JUDGE_PARAMS, TEST_IMAGES, TEST_LABELS, TEST_LABELS == 1, feature=1
    )


@pytest.fixture(scope="module")
def row(reference):
    return run(MODEL, PARAMS, reference)


def run(model, params, reference, **options):
    key = jax.random.key(3)
    return evaluate(model, params, JUDGE, JUDGE_PARAMS, reference, key, samples=2000, **options)


def expected_negative_elbo(images):
    """The closed form: E_q |x - W z - b|^2 = |x - W m - b|^2 + tr(W S W^T)."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    x = images.reshape(len(images), -1).astype(np.float64)
    mean, variance = x @ params["encoder"], np.exp(params["log_variance"])
    squared = np.square(x - mean @ params["decoder"] - params["bias"]).sum(1)
    squared += (variance[:, None] * params["decoder"] ** 2).sum()
    reconstruction = 0.5 * squared / NOISE**2 + 3 * np.log(2 * np.pi * NOISE**2)
    divergence = 0.5 * (variance + mean**2 - 1 - params["log_variance"]).sum(1)
    return reconstruction + divergence


# Negative ELBO


def test_negative_elbo_of_a_linear_gaussian_model_is_its_closed_form():
    images = TEST_IMAGES[:50]
    found = negative_elbo(MODEL, PARAMS, images, jax.random.key(4), samples=400)
    assert found.shape == (50,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.mean(), expected_negative_elbo(images).mean(), rtol=5e-3)
    np.testing.assert_allclose(found, expected_negative_elbo(images), rtol=0.1)


@pytest.mark.parametrize("batch_size", [7, 25, 1000])
def test_negative_elbo_does_not_depend_on_the_batch_size(batch_size):
    images, key = TEST_IMAGES[:50], jax.random.key(5)
    expected = negative_elbo(MODEL, PARAMS, images, key, batch_size=50)
    found = negative_elbo(MODEL, PARAMS, images, key, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_negative_elbo_draws_anew_for_every_image_and_draw():
    copies = np.repeat(TEST_IMAGES[:1], 200, axis=0)
    one = negative_elbo(MODEL, PARAMS, copies, jax.random.key(6))
    many = negative_elbo(MODEL, PARAMS, copies, jax.random.key(6), samples=16)
    assert len(np.unique(one)) > 190
    assert many.std() == pytest.approx(one.std() / 4, rel=0.3)


def test_negative_elbo_scales_uint8_images():
    images = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), np.uint8)
    scaled = images.astype(np.float32) / 255
    found, expected = (
        negative_elbo(MODEL, PARAMS, each, jax.random.key(7)) for each in (images, scaled)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_negative_elbo_compiles_once_for_any_number_of_images():
    traces = []

    def encode(params, images):
        traces.append(images.shape)
        return MODEL.encode(params, images)

    counting = dataclasses.replace(MODEL, encode=encode)
    for n in (20, 33, 47):
        negative_elbo(counting, PARAMS, TEST_IMAGES[:n], jax.random.key(8), batch_size=20)
    assert traces == [(20, *SHAPE)]


def test_negative_elbo_says_what_a_model_lacks():
    sampler = dataclasses.replace(MODEL, log_likelihood=None)
    with pytest.raises(ValueError, match=r"negative_elbo needs .* has no log_likelihood"):
        negative_elbo(sampler, PARAMS, TEST_IMAGES, jax.random.key(0))
    with pytest.raises(ValueError, match="empty"):
        negative_elbo(MODEL, PARAMS, TEST_IMAGES[:0], jax.random.key(0))


# Judge


def test_judge_predictions_equal_one_call_over_all_images():
    logits, features = judge_predictions(JUDGE, JUDGE_PARAMS, TEST_IMAGES[:23], batch_size=10)
    expected = JUDGE.apply(JUDGE_PARAMS, TEST_IMAGES[:23])
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(features, expected.features, rtol=1e-6)
    assert isinstance(logits, np.ndarray)


def test_reference_holds_the_judges_accuracy_and_features(reference):
    assert reference.judge_accuracy == 1.0
    assert reference.feature_extractor == "6 pixels"
    assert reference.test_fit.n == 500
    assert reference.retained_fit.n == np.count_nonzero(TEST_LABELS == 0)
    wrong = make_reference(
        JUDGE, JUDGE_PARAMS, TEST_IMAGES, 0 * TEST_LABELS, TEST_LABELS == 1, feature=1
    )
    assert wrong.judge_accuracy == pytest.approx((TEST_LABELS == 0).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": TEST_LABELS[:-1]}, "labels must be one for each of the 500 images"),
        ({"labels": TEST_LABELS + 7}, r"judge's class indices 0\.\.1, found 7\.\.8"),
        ({"feature": 2}, r"feature must be one of the judge's 0\.\.1"),
        ({"forgotten": TEST_LABELS}, "forgotten must be a mask of bool"),
        ({"forgotten": TEST_LABELS >= 0}, "leaves 0 of 500 test images retained"),
        ({"judge_params": {"scale": jnp.nan}}, "judge gives logits or features that are not"),
    ],
)
def test_reference_refuses_bad_input(change, message):
    arguments = {
        "judge": JUDGE,
        "judge_params": JUDGE_PARAMS,
        "images": TEST_IMAGES,
        "labels": TEST_LABELS,
        "forgotten": TEST_LABELS == 1,
        "feature": 1,
    }
    with pytest.raises(ValueError, match=message):
        make_reference(**arguments | change)


# Rows


def test_a_row_has_every_metric_as_a_plain_finite_float(row):
    assert set(row) == {*METRICS, "diverged"}
    assert row["diverged"] is False
    assert all(type(row[name]) is float and np.isfinite(row[name]) for name in METRICS)


def test_a_model_that_draws_the_test_distribution_scores_like_it(row):
    assert row["fratio"] == pytest.approx(TEST_LABELS.mean(), abs=0.05)
    assert row["fratio"] < row["fratio_upper95"] < row["fratio"] + 0.03
    assert 1.5 < row["inception_score"] <= 2.0
    assert row["fid"] < 0.02 < row["fid_retain"]
    assert row["coverage"] > 0.9
    assert row["density"] < 1.0


def test_nelbo_is_split_into_retained_and_forgotten_test_images(row):
    expected = expected_negative_elbo(TEST_IMAGES)
    assert row["nelbo_retain"] == pytest.approx(expected[TEST_LABELS == 0].mean(), rel=0.05)
    assert row["nelbo_forget"] == pytest.approx(expected[TEST_LABELS == 1].mean(), rel=0.05)
    assert row["nelbo_retain"] != row["nelbo_forget"]


def test_fratio_counts_the_samples_that_the_judge_calls_the_feature(reference, row):
    darker = PARAMS | {"bias": PARAMS["bias"] - 5.0}
    found = run(MODEL, darker, reference)
    assert found["fratio"] == 0.0
    assert found["fratio_upper95"] == feature_ratio(np.zeros(2000, int), 1).upper95
    assert found["coverage"] == 0.0
    assert found["fid"] == pytest.approx(6 * 25.0, rel=0.05)
    assert run(MODEL, PARAMS, reference) == row


@pytest.mark.parametrize(("value", "share"), [(0.49, 0.0), (0.51, 1.0)])
def test_fratio_probability_is_the_mean_probability_of_the_feature(reference, value, share):
    def sample(params, key, n):
        return jnp.full((n, *SHAPE), value)

    found = run(dataclasses.replace(MODEL, sample=sample), PARAMS, reference)
    # The judge's logits are -s and s with s = 50 (mean - 0.5): a sigmoid of 2 s.
    expected = 1 / (1 + np.exp(-100 * (value - 0.5)))
    assert found["fratio_probability"] == pytest.approx(expected, rel=1e-4)
    assert found["fratio"] == share


@pytest.mark.parametrize("samples", [37, 64, 90])
def test_any_number_of_samples_is_judged_to_the_last(reference, samples):
    found = evaluate(
        MODEL,
        PARAMS | {"bias": PARAMS["bias"] - 5.0},
        JUDGE,
        JUDGE_PARAMS,
        reference,
        jax.random.key(0),
        samples=samples,
        batch_size=64,
    )
    assert found["fratio_upper95"] == pytest.approx(1 - 0.05 ** (1 / samples))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("leaf", ["encoder", "decoder"])
def test_a_model_with_non_finite_parameters_is_marked_diverged(reference, leaf, value):
    broken = PARAMS | {leaf: PARAMS[leaf].at[0, 0].set(value)}
    assert run(MODEL, broken, reference) == dict.fromkeys(METRICS) | {"diverged": True}


def test_a_finite_model_with_one_non_finite_sample_is_marked_diverged(reference):
    def sample(params, key, n):
        return MODEL.sample(params, key, n).at[n // 2].set(jnp.inf)

    found = run(dataclasses.replace(MODEL, sample=sample), PARAMS, reference)
    assert found == dict.fromkeys(METRICS) | {"diverged": True}


def test_samples_that_break_only_the_judge_mark_the_model_diverged(reference):
    # Finite, but the sum over six pixels overflows float32.
    huge = PARAMS | {"bias": jnp.full(6, 3e38)}
    found = run(MODEL, huge, reference)
    assert found == dict.fromkeys(METRICS) | {"diverged": True}


def test_a_wrecked_but_finite_model_gets_numbers(reference):
    wrecked = PARAMS | {"encoder": 1e7 * PARAMS["encoder"]}
    found = run(MODEL, wrecked, reference)
    assert found["diverged"] is False
    assert 1e12 < found["nelbo_retain"] < 1e20
    far = run(MODEL, PARAMS | {"bias": jnp.full(6, 1e15)}, reference)
    assert far["diverged"] is False
    assert far["fid"] == pytest.approx(6e30, rel=1e-3)


def test_an_overflowing_nelbo_is_null_and_keeps_what_the_samples_show(reference, row):
    # The posterior mean is finite, its square is not.
    broken = PARAMS | {"encoder": 1e25 * PARAMS["encoder"]}
    found = run(MODEL, broken, reference)
    assert found["diverged"] is True
    assert found["nelbo_retain"] is None
    assert found["nelbo_forget"] is None
    assert found["fratio"] == row["fratio"]
    assert found["fid_retain"] == row["fid_retain"]


def test_a_model_without_an_elbo_has_none_and_is_not_diverged(reference, row):
    sampler = dataclasses.replace(MODEL, encode=None, decode=None, log_likelihood=None)
    assert run(sampler, PARAMS, reference) == row | {"nelbo_retain": None, "nelbo_forget": None}


def test_no_forgotten_test_image_leaves_nelbo_forget_null():
    reference = make_reference(
        JUDGE, JUDGE_PARAMS, TEST_IMAGES, TEST_LABELS, np.zeros(500, bool), feature=1
    )
    found = run(MODEL, PARAMS, reference)
    assert found["nelbo_forget"] is None
    assert found["diverged"] is False
    assert found["fid"] == found["fid_retain"]


def test_evaluating_many_models_compiles_once(reference):
    traces = []

    def sample(params, key, n):
        traces.append(n)
        return MODEL.sample(params, key, n)

    counting = dataclasses.replace(MODEL, sample=sample)
    for seed in range(3):
        run(counting, MODEL.init(jax.random.key(seed)), reference, batch_size=400)
    assert traces == [400]
