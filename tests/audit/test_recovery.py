"""Latent recovery finds the best latent of a linear model, which has a closed form."""

import jax
import numpy as np
import pytest
from gaussian_vae import MODEL as WITH_MEAN
from gaussian_vae import init
from linear_gaussian import MODEL, NOISE, PARAMS, images

from gsu_jax.audit import recover_latents

KEY = jax.random.key(0)


def closed_form(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best latents and their losses, by least squares."""
    kernel, flat = np.float64(PARAMS["decoder"]), x.reshape(len(x), -1) - np.float64(PARAMS["bias"])
    z = np.linalg.solve(kernel @ kernel.T / NOISE**2 + np.eye(2), kernel @ flat.T / NOISE**2).T
    squared = np.square(flat - z @ kernel).sum(1)
    likelihood = -0.5 * squared / NOISE**2 - 3 * np.log(2 * np.pi * NOISE**2)
    return z, 0.5 * np.square(z).sum(1) - likelihood


@pytest.mark.long
def test_latents_are_the_best_ones():
    x = images(8)
    found = recover_latents(MODEL, PARAMS, x, KEY)
    z, loss = closed_form(x)
    np.testing.assert_allclose(found.latent, z, atol=2e-3)
    np.testing.assert_allclose(found.loss, loss, atol=1e-3)
    np.testing.assert_allclose(found.squared_norm, np.square(z).sum(1), atol=1e-2)
    assert np.isnan(found.squared_error).all()


@pytest.mark.long
def test_a_broken_encoder_hides_nothing():
    x = images(4)
    broken = PARAMS | {"encoder": np.full((6, 2), np.nan, np.float32)}
    found = recover_latents(MODEL, broken, x, KEY)
    np.testing.assert_allclose(found.loss, closed_form(x)[1], atol=1e-3)


def test_a_start_at_the_answer_wins_after_one_step():
    x = images(4)
    z, _ = closed_form(x)
    found = recover_latents(MODEL, PARAMS, x, KEY, steps=1, starts=z[None])
    assert found.start.tolist() == [4] * 4


@pytest.mark.long
def test_error_of_the_drawn_image_is_measured():
    params = init(jax.random.key(1))
    x = WITH_MEAN.sample(params, jax.random.key(2), 3)
    far = x + 5
    near_error = recover_latents(WITH_MEAN, params, x, KEY).squared_error
    assert (near_error < recover_latents(WITH_MEAN, params, far, KEY).squared_error).all()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"starts must be \[m, 4, 2\], got \(1, 4, 3\)"):
        recover_latents(MODEL, PARAMS, images(4), KEY, starts=np.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match="images is empty"):
        recover_latents(MODEL, PARAMS, images(4)[:0], KEY)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        recover_latents(MODEL, PARAMS, images(4), KEY, steps=0)
