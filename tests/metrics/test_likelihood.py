"""The negative ELBO against its closed form."""

import dataclasses

import jax
import numpy as np
import pytest
from linear_gaussian import MODEL, PARAMS, SHAPE, images
from linear_gaussian import negative_elbo as closed_form

from gsu_jax.metrics import negative_elbo

KEY = jax.random.key(4)


def test_linear_gaussian_model_has_its_closed_form():
    x = images(50)
    found = negative_elbo(MODEL, PARAMS, x, KEY, samples=400)
    assert found.shape == (50,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.mean(), closed_form(x).mean(), rtol=0.01)
    np.testing.assert_allclose(found, closed_form(x), rtol=0.1, atol=0.5)


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_batch_size_does_not_matter(batch_size):
    expected = negative_elbo(MODEL, PARAMS, images(50), KEY, batch_size=25)
    found = negative_elbo(MODEL, PARAMS, images(50), KEY, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_every_image_and_draw_has_its_own_noise():
    copies = np.repeat(images(1), 200, axis=0)
    one = negative_elbo(MODEL, PARAMS, copies, KEY)
    many = negative_elbo(MODEL, PARAMS, copies, KEY, samples=16)
    assert len(np.unique(one)) > 190
    assert many.std() == pytest.approx(one.std() / 4, rel=0.3)


def test_uint8_images_are_scaled():
    whole = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), np.uint8)
    found, expected = (
        negative_elbo(MODEL, PARAMS, each, KEY) for each in (whole, whole.astype(np.float32) / 255)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_any_number_of_images_compiles_once():
    traces = []

    def encode(params, images):
        traces.append(images.shape)
        return MODEL.encode(params, images)

    counting = dataclasses.replace(MODEL, encode=encode)
    for n in (20, 33, 47):
        negative_elbo(counting, PARAMS, images(n), KEY, batch_size=20)
    assert traces == [(20, *SHAPE)]


def test_errors_name_what_is_missing():
    sampler = dataclasses.replace(MODEL, log_likelihood=None)
    with pytest.raises(ValueError, match=r"negative_elbo.*log_likelihood"):
        negative_elbo(sampler, PARAMS, images(2), KEY)
    with pytest.raises(ValueError, match="images"):
        negative_elbo(MODEL, PARAMS, images(2)[:0], KEY)
    with pytest.raises(ValueError, match=r"samples.*got 0"):
        negative_elbo(MODEL, PARAMS, images(2), KEY, samples=0)
