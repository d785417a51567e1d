"""Methods that need the loss alone work on a diffusion model; the others say what is missing."""

import jax
import numpy as np
import pytest

from gsu_jax import GradientAscent, GradientSurgery, RedirectFlow, unlearn
from gsu_jax.metrics import negative_elbo
from gsu_jax.models import MLPDiffusionConfig
from gsu_jax.networks import mlp_diffusion, use_principal_components

pytestmark = pytest.mark.long

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
MODEL = mlp_diffusion(
    MLPDiffusionConfig((4, 4, 1), coordinates=16, width=16, depth=1, bound_times=32)
)


def images_around(level, n):
    return np.uint8(level + RNG.integers(-30, 31, (n, 4, 4, 1)))


FORGET, RETAIN = images_around(60, 60), images_around(190, 200)


@pytest.fixture(scope="module")
def params():
    return use_principal_components(MODEL.init(KEY), np.concatenate([FORGET, RETAIN]))


def bounds(params):
    """Mean negative ELBO of the forgotten and of the retained images, with common noise."""
    return [negative_elbo(MODEL, params, x, KEY, samples=4).mean() for x in (FORGET, RETAIN)]


def test_surgery_raises_the_bound_of_forgotten_images_alone(params):
    """The padded last batch of 60 images in sixteens is part of it."""
    method = GradientSurgery(learning_rate=3e-3)
    result = unlearn(MODEL, params, FORGET, RETAIN, method=method, key=KEY, batch_size=16, epochs=4)
    (forget, retain), (before_forget, before_retain) = bounds(result.params), bounds(params)
    assert result.steps == 16
    assert forget - before_forget > 1.0
    assert retain - before_retain < 0.5 * (forget - before_forget)


def test_ascent_runs_and_a_method_with_an_encoder_refuses(params):
    result = unlearn(
        MODEL, params, FORGET, RETAIN, method=GradientAscent(), key=KEY, batch_size=32, epochs=2
    )
    assert np.isfinite(result.history["forget_loss"]).all()
    with pytest.raises(ValueError, match=r"redirect_flow needs.*encode.*no encode"):
        unlearn(MODEL, params, FORGET, RETAIN, method=RedirectFlow(), key=KEY, batch_size=32)
