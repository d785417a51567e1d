"""Rows of the results table, for a model and a judge whose answers are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import JUDGE, JUDGE_PARAMS, MODEL, PARAMS, SHAPE, images, random_params
from linear_gaussian import negative_elbo as closed_form

from gsu_jax.metrics import (
    EVIDENCE_METRICS,
    METRICS,
    draw_samples,
    evaluate,
    feature_ratio,
    judge_predictions,
    listed_images,
    make_reference,
    sample_metrics,
)

NOTHING = dict.fromkeys(METRICS) | {"diverged": True}
NO_LIKELIHOOD = dict.fromkeys(("nelbo_retain", "nelbo_forget", *EVIDENCE_METRICS))
DARKER = PARAMS | {"bias": PARAMS["bias"] - 5}


@pytest.fixture(scope="module")
def test_set():
    x = images(500)
    return x, (x.mean((1, 2, 3)) > 0.5).astype(int)


@pytest.fixture(scope="module")
def reference(test_set):
    x, labels = test_set
    return make_reference(JUDGE, JUDGE_PARAMS, x, labels, labels == 1, feature=1)


@pytest.fixture(scope="module")
def row(reference):
    return run(MODEL, PARAMS, reference)


def run(model, params, reference, samples=2000, **options):
    key = jax.random.key(3)
    return evaluate(model, params, JUDGE, JUDGE_PARAMS, reference, key, samples=samples, **options)


# Several classes, and listed images


def test_several_classes_are_counted_together(reference, row):
    both = dataclasses.replace(reference, feature=(0, 1))
    found = run(MODEL, PARAMS, both)
    assert (found["fratio"], found["fratio_probability"]) == (1.0, pytest.approx(1.0))
    one = dataclasses.replace(reference, feature=(1,))
    assert run(MODEL, PARAMS, one) == row


def test_listed_images_are_compared_with_test_images_of_their_class(test_set):
    """Both sides have a closed form; the classes of the listed images are 1, 1, 1 and 0."""
    x, labels = test_set
    extra = images(504)[500:]
    listed = listed_images(extra, np.array([1, 1, 1, 0]), labels)
    assert listed.weights.sum() == pytest.approx(1)
    reference = make_reference(
        JUDGE, JUDGE_PARAMS, x, labels, np.zeros(500, bool), feature=None, listed=listed
    )
    found = run(MODEL, PARAMS, reference)
    exact, own = closed_form(x), closed_form(extra)
    kind = 0.75 * exact[labels == 1].mean() + 0.25 * exact[labels == 0].mean()
    np.testing.assert_allclose(found["nelbo_forget"], own.mean(), atol=0.5)
    np.testing.assert_allclose(found["nelbo_gap"], own.mean() - kind, atol=0.5)
    np.testing.assert_allclose(found["nelbo_retain"], exact.mean(), atol=0.5)
    assert found["fratio"] is None
    assert found["fid"] is not None


def test_listed_images_of_a_class_without_test_images_are_refused():
    with pytest.raises(ValueError, match=r"listed.*class 2"):
        listed_images(images(1), np.array([2]), np.array([0, 1]))


# Judge and reference


def test_judge_predictions_do_not_depend_on_batches(test_set):
    x = test_set[0][:23]
    logits, features = judge_predictions(JUDGE, JUDGE_PARAMS, x, batch_size=10)
    expected = JUDGE.apply(JUDGE_PARAMS, x)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(features, expected.features, rtol=1e-6)
    assert isinstance(logits, np.ndarray)


def test_reference_holds_accuracy_and_features(test_set, reference):
    x, labels = test_set
    assert reference.judge_accuracy == 1.0
    assert reference.feature_extractor == "6 pixels"
    assert reference.test_fit.n == 500
    assert reference.retained_fit.n == np.count_nonzero(labels == 0)
    wrong = make_reference(JUDGE, JUDGE_PARAMS, x, 0 * labels, labels == 1, feature=1)
    assert wrong.judge_accuracy == pytest.approx((labels == 0).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: {"labels": labels[:-1]}, r"labels.*got \(499,\)"),
        (lambda labels: {"labels": labels + 7}, r"labels.*got 7\.\.8"),
        (lambda labels: {"feature": 2}, "feature.*got 2"),
        (lambda labels: {"forgotten": labels}, "forgotten.*got int64"),
        (lambda labels: {"forgotten": labels >= 0}, "forgotten leaves 0 of 500"),
        (lambda labels: {"judge_params": {"scale": np.float32(np.nan)}}, "judge"),
    ],
)
def test_reference_refuses(test_set, change, message):
    x, labels = test_set
    arguments = {
        "judge": JUDGE,
        "judge_params": JUDGE_PARAMS,
        "images": x,
        "labels": labels,
        "forgotten": labels == 1,
        "feature": 1,
    }
    with pytest.raises(ValueError, match=message):
        make_reference(**arguments | change(labels))


# Rows


def test_row_has_every_metric_as_finite_float(row):
    assert set(row) == {*METRICS, "diverged"}
    assert row["diverged"] is False
    assert all(type(row[name]) is float and np.isfinite(row[name]) for name in METRICS)


def test_a_judge_sees_the_samples_of_evaluate_without_the_likelihood(reference, row):
    key = jax.random.key(3)
    found = sample_metrics(MODEL, PARAMS, JUDGE, JUDGE_PARAMS, reference, key, samples=2000)
    likelihoods = {"nelbo_retain", "nelbo_forget", *EVIDENCE_METRICS, "diverged"}
    assert found == {name: value for name, value in row.items() if name not in likelihoods}
    lost = PARAMS | {"bias": PARAMS["bias"] * np.nan}
    assert sample_metrics(MODEL, lost, JUDGE, JUDGE_PARAMS, reference, key, samples=9) == {}


def test_samples_that_were_drawn_once_serve_several_judges(reference, row):
    key = jax.random.key(3)
    drawn = list(draw_samples(MODEL, PARAMS, key, 2000))
    judge = JUDGE, JUDGE_PARAMS, reference, key
    black = dataclasses.replace(MODEL, sample=lambda params, key, n: jnp.zeros((n, *SHAPE)))
    assert evaluate(black, PARAMS, *judge, samples=2000, drawn=drawn) == row
    seen = sample_metrics(black, PARAMS, *judge, samples=2000, drawn=drawn)
    assert seen["fid"] == row["fid"]


def test_fratio_is_corrected_by_the_errors_on_test_images(test_set, reference, row):
    # The judge is right about every test image: nothing to correct but the width.
    assert reference.judge_errors.hits.found == np.count_nonzero(test_set[1])
    assert reference.judge_errors.false_alarms.found == 0
    assert row["fratio_corrected_low"] < row["fratio_corrected"] < row["fratio_corrected_high"]
    assert row["fratio_corrected"] == pytest.approx(row["fratio"])
    blind = dataclasses.replace(reference, judge_errors=((5, 10), (5, 10)))
    assert run(MODEL, PARAMS, blind)["fratio_corrected"] is None
    unknown = dataclasses.replace(reference, judge_errors=None)
    assert run(MODEL, PARAMS, unknown)["fratio_corrected_high"] is None


def test_true_model_scores_like_test_data(row, test_set):
    assert row["fratio"] == pytest.approx(test_set[1].mean(), abs=0.05)
    assert row["fratio"] < row["fratio_upper95"] < row["fratio"] + 0.03
    assert 1.5 < row["inception_score"] <= 2.0
    assert row["fid"] < 0.05 < row["fid_retain"]
    assert row["coverage"] > 0.9
    assert row["density"] < 1.0


def test_nelbo_is_split_into_retained_and_forgotten(row, test_set):
    x, labels = test_set
    expected = closed_form(x)
    assert row["nelbo_retain"] == pytest.approx(expected[labels == 0].mean(), rel=0.05)
    assert row["nelbo_forget"] == pytest.approx(expected[labels == 1].mean(), rel=0.05)
    assert row["nelbo_retain"] != row["nelbo_forget"]


def test_dark_model_draws_no_bright_class(reference, row):
    found = run(MODEL, DARKER, reference)
    assert found["fratio"] == 0.0
    assert found["fratio_upper95"] == feature_ratio(np.zeros(2000, int), 1).upper95
    assert found["coverage"] == 0.0
    assert found["fid"] == pytest.approx(6 * 25.0, rel=0.05)
    assert run(MODEL, PARAMS, reference) == row


def test_fratio_probability_is_mean_probability(reference):
    def sample(params, key, n):
        return jnp.full((n, *SHAPE), params["bias"][0])

    gray = dataclasses.replace(MODEL, sample=sample)
    for value, share in ((0.49, 0.0), (0.51, 1.0)):
        found = run(gray, PARAMS | {"bias": np.full(6, value, np.float32)}, reference)
        # The judge's logits are -s and s with s = 50 (mean - 0.5), a sigmoid of 2 s.
        expected = 1 / (1 + np.exp(-100 * (value - 0.5)))
        assert found["fratio_probability"] == pytest.approx(expected, rel=1e-4)
        assert found["fratio"] == share


@pytest.mark.parametrize("samples", [37, 90])
def test_every_sample_is_judged(reference, samples):
    found = run(MODEL, DARKER, reference, samples, batch_size=64)
    assert found["fratio_upper95"] == pytest.approx(1 - 0.05 ** (1 / samples))


def test_no_forgotten_test_image_gives_no_nelbo_forget(test_set):
    x, labels = test_set
    reference = make_reference(JUDGE, JUDGE_PARAMS, x, labels, np.zeros(500, bool), feature=1)
    found = run(MODEL, PARAMS, reference)
    assert found["nelbo_forget"] is None
    assert found["diverged"] is False
    assert found["fid"] == found["fid_retain"]


def test_model_without_elbo_has_not_diverged(reference, row):
    sampler = dataclasses.replace(MODEL, encode=None, decode=None, log_likelihood=None)
    assert run(sampler, PARAMS, reference) == row | NO_LIKELIHOOD


def test_many_models_compile_once(reference):
    traces = []

    def sample(params, key, n):
        traces.append(n)
        return MODEL.sample(params, key, n)

    counting = dataclasses.replace(MODEL, sample=sample)
    for seed in range(3):
        run(counting, random_params(seed), reference, batch_size=400)
    assert traces == [2, 400]  # a pair of images to check their shape, a batch to draw


# Divergence


@pytest.mark.parametrize(("leaf", "value"), [("encoder", np.nan), ("decoder", np.inf)])
def test_non_finite_parameters_measure_nothing(reference, leaf, value):
    broken = PARAMS | {leaf: np.full_like(PARAMS[leaf], value)}
    assert run(MODEL, broken, reference) == NOTHING


def test_one_non_finite_sample_measures_nothing(reference):
    def sample(params, key, n):
        return MODEL.sample(params, key, n).at[n // 2].set(jnp.inf)

    assert run(dataclasses.replace(MODEL, sample=sample), PARAMS, reference) == NOTHING


def test_samples_that_overflow_in_the_judge_measure_nothing(reference):
    # Finite, but the sum over six pixels overflows float32.
    assert run(MODEL, PARAMS | {"bias": np.full(6, 3e38, np.float32)}, reference) == NOTHING


def test_large_finite_values_are_numbers(reference):
    found = run(MODEL, PARAMS | {"encoder": 1e7 * PARAMS["encoder"]}, reference)
    assert found["diverged"] is False
    assert 1e12 < found["nelbo_retain"] < 1e20
    far = run(MODEL, PARAMS | {"bias": np.full(6, 1e15, np.float32)}, reference)
    assert far["diverged"] is False
    assert far["fid"] == pytest.approx(6e30, rel=1e-3)


def test_overflowing_nelbo_keeps_sample_metrics(reference, row):
    # The posterior mean is finite, its square is not.
    broken = PARAMS | {"encoder": np.float32(1e25) * PARAMS["encoder"]}
    found = run(MODEL, broken, reference)
    # The decoder is whole, so its evidence is too.
    assert found["phi_forget"] == pytest.approx(row["phi_forget"], abs=0.02)
    evidence = {name: found[name] for name in EVIDENCE_METRICS}
    overflowed = {"nelbo_retain": None, "nelbo_forget": None, "diverged": True}
    assert found == row | evidence | overflowed


def test_rows_without_phi_are_the_same_but_for_it(reference, row):
    found = run(MODEL, PARAMS, reference, phi_images=0)
    assert found == row | dict.fromkeys(EVIDENCE_METRICS)


def test_too_few_samples_are_refused(reference):
    with pytest.raises(ValueError, match=r"samples.*got 1"):
        run(MODEL, PARAMS, reference, 1)
