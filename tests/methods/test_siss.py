import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL, VARIANCE
from helpers import cosine, vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax.methods import SISS

FORGET, RETAIN = images(2, 6, offset=0.4), images(3, 1)  # one retained image: no random pairs
MANY = np.tile(FORGET, (3000, 1, 1, 1))


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def wide(params, log_variance=1.0):
    """Posteriors that overlap."""
    encoder = params["encoder"] | {"log_variance": jnp.full(3, log_variance)}
    return params | {"encoder": encoder}


def step(method, params, forget=FORGET, mask=None, teacher=None):
    return jax.jit(method.gradients, static_argnums=0)(
        MODEL, params if teacher is None else teacher, params, batch_of(forget, RETAIN, mask), KEY
    )


def loss_of(params, teacher, images):
    """E over q*(z|x) of -log p(x|z), without its constant: the mean error and the spread."""
    x = np.float64(images).reshape(len(images), 4)
    kernel = np.float64(params["decoder"]["kernel"])
    mean = x @ np.float64(teacher["encoder"]["kernel"])
    error = mean @ kernel + np.float64(params["decoder"]["bias"]) - x
    spread = np.exp(np.float64(teacher["encoder"]["log_variance"])) @ np.square(kernel)
    constant = 2 * np.log(2 * np.pi * VARIANCE)
    return (np.square(error).sum(1) + spread.sum()).mean() / 2 / VARIANCE + constant


@pytest.mark.parametrize("mixture", [0.2, 0.5])
def test_both_losses_are_those_of_the_two_sets_on_one_sample(params, mixture):
    teacher = wide(params)
    metrics = step(SISS(mixture=mixture), teacher, MANY).metrics
    np.testing.assert_allclose(metrics["forget_loss"], loss_of(teacher, teacher, FORGET), rtol=0.03)
    np.testing.assert_allclose(metrics["retain_loss"], loss_of(teacher, teacher, RETAIN), rtol=0.03)


def test_the_retain_gradient_is_that_of_its_loss(params):
    teacher = wide(params)
    found = step(SISS(), teacher, MANY).retain_grads["decoder"]["bias"]
    x, h = RETAIN, 1e-3
    for i in range(4):
        ends = []
        for sign in (1, -1):
            bias = teacher["decoder"]["bias"].at[i].add(sign * h)
            moved = teacher | {"decoder": teacher["decoder"] | {"bias": bias}}
            ends.append(loss_of(moved, teacher, x))
        np.testing.assert_allclose(found[i], (ends[0] - ends[1]) / 2 / h, atol=0.1)


@pytest.mark.parametrize("share", [0.0, 0.1, 2.0])
def test_what_is_subtracted_has_the_share_of_the_length_of_the_retain_gradient(params, share):
    found = step(SISS(forget_share=share), wide(params))
    retain = vector(found.retain_grads)
    subtracted = retain - vector(found.updates)
    expected = share * np.linalg.norm(retain)
    np.testing.assert_allclose(np.linalg.norm(subtracted), expected, rtol=1e-4, atol=1e-5)


def test_the_subtracted_direction_is_that_of_the_forgotten_loss(params):
    """With narrow posteriors the forgotten loss is that of the images drawn from it."""
    found = step(SISS(), params, MANY)
    subtracted = jax.tree.map(jnp.subtract, found.retain_grads, found.updates)
    x = np.float64(FORGET).reshape(6, 4)
    z = x @ np.float64(params["encoder"]["kernel"])
    error = z @ np.float64(params["decoder"]["kernel"]) + np.float64(params["decoder"]["bias"]) - x
    expected = {"bias": error.sum(0), "kernel": z.T @ error}
    assert cosine(subtracted["decoder"], expected) > 0.99
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found.updates["encoder"]))


def test_the_encoder_of_the_trained_model_gives_the_latents(params):
    moved = params | {"encoder": jax.tree.map(lambda x: x + 1, params["encoder"])}
    one, other = (step(SISS(), p, teacher=params).updates for p in (params, moved))
    np.testing.assert_array_equal(vector(one), vector(other))


def test_a_masked_image_does_not_count(params):
    mask, other = np.float32([1, 1, 1, 1, 1, 0]), np.concatenate([FORGET[:5], 1 - FORGET[5:]])
    one, two = (step(SISS(), wide(params), x, mask).updates for x in (FORGET, other))
    np.testing.assert_allclose(vector(one), vector(two), rtol=1e-6)


@pytest.mark.parametrize("settings", [{"mixture": 0.0}, {"mixture": 1.0}, {"forget_share": -0.1}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} .*got"):
        SISS(**settings)
