import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL, VARIANCE
from helpers import assert_trees_close
from linear_autoencoder import images
from method_steps import KEY, batch_of
from scipy import integrate, stats

from gsu_jax import SCRUB
from gsu_jax.methods._scrub import distance_to_teacher, kl_between_gaussians
from gsu_jax.models import bernoulli_log_likelihood

FORGET, RETAIN = images(2, 4, offset=0.4), images(3, 6)


@cache
def teacher():
    return MODEL.init(jax.random.key(1))


def student(seed=0):
    """The teacher with another decoder: the posteriors are the same."""
    rng = np.random.default_rng(seed)
    shift = lambda x: x + jnp.float32(0.1 * rng.normal(size=x.shape))  # noqa: E731
    return {**teacher(), "decoder": jax.tree.map(shift, teacher()["decoder"])}


@cache
def jitted(method):
    return jax.jit(method.gradients, static_argnums=0)


def gradients(params, mask=None, progress=0.0, retain_weight=0.0):
    method = SCRUB(retain_weight=retain_weight, teacher_weight=2.0)
    batch = batch_of(FORGET, RETAIN, mask, progress=progress)
    return jitted(method)(MODEL, teacher(), params, batch, KEY)


def by_hand(params, x):
    """The decoder's gradient of E d = E |z (K - K*) + b - b*|^2 / (2 variance), z = x E."""
    kernel, bias = (params["decoder"][k] - teacher()["decoder"][k] for k in ("kernel", "bias"))
    z = np.asarray(x.reshape(len(x), 4) @ teacher()["encoder"]["kernel"], np.float64)
    error = (z @ kernel + bias) / VARIANCE / len(x)
    return {"kernel": z.T @ error, "bias": error.sum(0)}


assert_close = partial(assert_trees_close, rtol=1e-3, atol=1e-4)


def test_forgotten_images_are_left_along_the_distance_and_retained_ones_held():
    params = student()
    found = gradients(params)
    departs, stays = by_hand(params, FORGET), by_hand(params, RETAIN)
    assert_close(found.updates["decoder"], jax.tree.map(lambda d, s: 2 * s - d, departs, stays))
    assert_close(found.retain_grads["decoder"], jax.tree.map(lambda s: 2 * s, stays))


def test_the_second_part_of_a_run_only_repairs():
    found = gradients(student(), progress=0.5)
    assert_close(found.updates, found.retain_grads)
    first = gradients(student(), progress=0.49)
    assert np.abs(first.updates["decoder"]["bias"] - found.updates["decoder"]["bias"]).max() > 1e-2


def test_at_the_teacher_only_the_retained_loss_has_a_gradient():
    found = gradients(teacher(), retain_weight=3.0)
    expected = jax.grad(MODEL.loss)(teacher(), jnp.asarray(RETAIN), KEY)
    expected = jax.tree.map(lambda g: 3 * g, expected)
    # Along the log variance the loss has noise of its own; its distance has none.
    for part, name in (("encoder", "kernel"), ("decoder", "kernel"), ("decoder", "bias")):
        np.testing.assert_allclose(
            found.updates[part][name], expected[part][name], rtol=1e-3, atol=1e-3
        )


def test_a_masked_image_does_not_count():
    params = student()
    found = gradients(params, jnp.array([1.0, 1, 1, 0])).updates["decoder"]
    departs, stays = by_hand(params, FORGET[:3]), by_hand(params, RETAIN)
    assert_close(found, jax.tree.map(lambda d, s: 2 * s - d, departs, stays))


def test_for_bernoulli_pixels_the_distance_is_their_divergence():
    model = dataclasses.replace(MODEL, log_likelihood=bernoulli_log_likelihood, mean=jax.nn.sigmoid)
    params, x = student(1), jnp.asarray(FORGET)
    mean, _ = model.encode(teacher(), x)
    p, q = (
        np.asarray(jax.nn.sigmoid(model.decode(at, mean)), np.float64) for at in (teacher(), params)
    )
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum((1, 2, 3))
    found = jax.jit(distance_to_teacher, static_argnums=0)(model, teacher(), params, x, KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_divergence_of_gaussians_is_its_integral():
    p, q = stats.norm(0.4, np.exp(0.5 * 0.3)), stats.norm(-1.0, np.exp(-0.5 * 0.8))
    expected, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -15, 15)
    found = kl_between_gaussians(*(jnp.array([[x]]) for x in (0.4, 0.3, -1.0, -0.8)))
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


@pytest.mark.parametrize("settings", [{"forget_share": 0.0}, {"teacher_weight": -1.0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=r"(forget_share|teacher_weight) .*got"):
        SCRUB(**settings)
