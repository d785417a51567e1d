from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close
from linear_autoencoder import MODEL, gradient, images
from method_steps import KEY, batch_of

from gsu_jax import VDU
from gsu_jax.data import ImageSet
from gsu_jax.methods._vdu import Posterior, draw_from_both, fit_posterior

FORGET, RETAIN = images(2, 4, offset=0.4), images(3, 6)


@cache
def init():
    return MODEL.init(jax.random.key(1))


def test_a_step_ascends_and_is_pulled_to_the_posteriors_mean():
    params = init()
    posterior = Posterior(
        jax.tree.map(lambda x: x - 0.1, params), jax.tree.map(lambda x: 0.2 + x**2, params)
    )
    gradients = jax.jit(VDU(prior_weight=0.3).gradients, static_argnums=0)
    found = gradients(MODEL, posterior, params, batch_of(FORGET, RETAIN), KEY)
    expected = jax.tree.map(
        lambda g, x: -0.7 * g + 0.3 * 0.1 / (0.2 + np.asarray(x, np.float64) ** 2),
        gradient(params, FORGET), params,
    )  # fmt: skip
    assert_trees_close(found.updates, expected, rtol=1e-4, atol=1e-5)


def test_a_posterior_is_mean_and_unbiased_variance_with_a_floor():
    ends = np.random.default_rng(0).normal(size=(4, 3))
    ends[:, 1] = 0.5
    posterior = fit_posterior({"a": jnp.float32(ends)}, 0.01)
    np.testing.assert_allclose(posterior.mean["a"], ends.mean(0), rtol=1e-5)
    expected = ends.var(0, ddof=1)
    expected[1] = 1e-4
    np.testing.assert_allclose(posterior.variance["a"], expected, rtol=1e-4)


@pytest.fixture(scope="module")
def posterior():
    forget, retain = np.zeros((5, 2, 2, 1), np.float32), images(3, 6)
    retain[:, 0, 0] = 0.0  # a pixel that is black everywhere
    method = VDU(batch_size=3, checkpoints=3, posterior_steps=2, posterior_learning_rate=0.01)
    prepare = jax.jit(method.prepare, static_argnums=0)
    return prepare(MODEL, init(), *map(ImageSet.of, (forget, retain)), KEY)


def test_the_runs_part_from_each_other_and_stay_near_where_they_began(posterior):
    kernel = init()["decoder"]["kernel"]
    distance = np.abs(posterior.mean["decoder"]["kernel"] - kernel)
    assert 1e-3 < distance.max() <= 2 * 0.01 + 1e-6
    assert posterior.variance["decoder"]["kernel"].max() > 1e-5


def test_a_parameter_that_no_image_moves_has_the_least_deviation(posterior):
    of_black_pixel = posterior.variance["encoder"]["kernel"][0]
    np.testing.assert_allclose(of_black_pixel, 1e-6, rtol=1e-5)
    assert posterior.variance["encoder"]["kernel"][1:].max() > 1e-5


def test_images_are_drawn_from_both_sets_in_proportion():
    forget = np.full((1, 1, 1, 1), 255, np.uint8)
    retain = np.linspace(0, 0.5, 3, dtype=np.float32).reshape(3, 1, 1, 1)
    drawn = draw_from_both(*map(ImageSet.of, (forget, retain)), 4000, KEY)
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_allclose(values, [0, 0.25, 0.5, 1])
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)


@pytest.mark.parametrize(
    "settings", [{"prior_weight": 1.0}, {"checkpoints": 1}, {"least_deviation": 0.0}]
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=r"(prior_weight|checkpoints|least_deviation) .*got"):
        VDU(**settings)
