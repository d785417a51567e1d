"""Surgery whose forget loss sees the noise between two levels alone."""

from dataclasses import replace

import gaussian_vae
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax import GradientSurgery
from gsu_jax.methods.ingredients import MaskedBatch, window_loss
from gsu_jax.models import DiffusionConfig
from gsu_jax.models.diffusion import diffusion, to_data
from gsu_jax.study._method_records import method_from, method_record

# Its estimate of every image is one number, so that the loss is a closed form.
MODEL = diffusion(
    DiffusionConfig((2, 2, 1)),
    lambda key: {"level": jnp.float32(0.25)},
    lambda params, z, gamma: jnp.zeros_like(z) + params["level"],
)
PARAMS = {"network": {"level": jnp.float32(0.25)}}
FORGET, RETAIN = images(2, 8, offset=0.3), images(3, 8)


def expected(x, level, low, high):
    """The mean over images of 1/2 |x - level|^2 times the integral of e^-gamma."""
    squares = np.square(np.asarray(to_data(x)) - level).reshape(len(x), -1).sum(-1)
    return 0.5 * squares.mean() * (np.exp(-low) - np.exp(-high))


def test_loss_is_the_integral_of_the_bound_over_the_window():
    many = jnp.repeat(FORGET[:1], 256, axis=0)
    batch = MaskedBatch(many, jnp.ones(256))
    found = window_loss(MODEL, (-1.0, 2.0))(PARAMS, batch, KEY)
    assert float(found) == pytest.approx(expected(many, 0.25, -1.0, 2.0), rel=0.02)


def test_masked_images_do_not_count():
    loss = window_loss(MODEL, (1.0, 1.0001))
    whole = loss(PARAMS, MaskedBatch(FORGET[:1], jnp.ones(1)), KEY)
    padded = jnp.concatenate([FORGET[:1], 0 * FORGET[:3]])
    mask = jnp.array([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(loss(PARAMS, MaskedBatch(padded, mask), KEY), whole, rtol=1e-3)


def test_window_changes_the_forget_gradient_alone():
    plain, window = (
        method.gradients(MODEL, None, PARAMS, batch_of(FORGET, RETAIN), KEY)
        for method in (GradientSurgery(), GradientSurgery(window=(1.0, 1.0001)))
    )
    np.testing.assert_array_equal(
        window.retain_grads["network"]["level"], plain.retain_grads["network"]["level"]
    )
    x = np.asarray(to_data(FORGET)).reshape(len(FORGET), -1)
    slope = np.exp(-1.0) * 0.0001 * (0.25 - x).sum(-1).mean()
    # Ascent: minus the gradient.
    np.testing.assert_allclose(window.updates["network"]["level"], -slope, rtol=1e-2)
    assert abs(plain.updates["network"]["level"]) > 100 * abs(slope)


def test_model_without_denoise_is_refused():
    vae = replace(gaussian_vae.MODEL, denoise=None)
    with pytest.raises(ValueError, match=r"window=\(-2.0, 4.0\).*denoise"):
        GradientSurgery(window=(-2.0, 4.0)).check(vae)


@pytest.mark.parametrize("settings", [{}, {"loss": "reconstruction"}, {"through": "decoder"}])
def test_window_that_is_none_or_has_no_meaning_is_refused(settings):
    window = (-2.0, 4.0) if settings else (4.0, -2.0)
    with pytest.raises(ValueError, match="window"):
        GradientSurgery(window=window, **settings)


def test_record_of_surgery_without_a_window_is_that_of_earlier_releases():
    assert "window" not in method_record(GradientSurgery())
    given = GradientSurgery(window=(-2.0, 4.0))
    record = {**method_record(given), "window": [-2.0, 4.0]}  # as JSON gives it back
    assert method_from("gradient_surgery", record) == given
    assert hash(method_from("gradient_surgery", record)) == hash(given)


def test_gradients_flow_under_jit():
    step = jax.jit(lambda p: GradientSurgery(window=(0.0, 1.0)).gradients(
        MODEL, None, p, batch_of(FORGET, RETAIN), KEY
    ).updates)  # fmt: skip
    assert np.isfinite(step(PARAMS)["network"]["level"])
