from functools import cache, partial

import jax
import jax.numpy as jnp
import linear_autoencoder
import numpy as np
import optax
import pytest
from gaussian_vae import MODEL, VARIANCE
from helpers import vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax import SalUn, unlearn
from gsu_jax.data import ImageSet
from gsu_jax.methods._salun import Prepared, largest_share, whole_gradient

FORGET, RETAIN = images(2, 5, offset=0.4), images(3, 6)


@cache
def teacher():
    return MODEL.init(jax.random.key(2))


@cache
def init():
    return MODEL.init(jax.random.key(1))


def updates(method, teacher, params, forget, retain):
    gradients = jax.jit(partial(method.gradients, MODEL))
    return gradients(Prepared(teacher, None), params, batch_of(forget, retain), KEY).updates


# The mask


def test_the_mask_sees_every_forgotten_image_once():
    model = linear_autoencoder.MODEL
    params = model.init(KEY)
    found = jax.jit(whole_gradient, static_argnums=(0, 4))(
        model.loss, params, ImageSet.of(FORGET), KEY, 2
    )
    expected = linear_autoencoder.gradient(params, FORGET)
    np.testing.assert_allclose(vector(found), vector(expected), rtol=1e-4, atol=1e-6)


def test_half_of_all_entries_the_largest_by_size_may_move():
    tree = {"a": jnp.array([[0.1, -5.0], [2.0, 0.3]]), "b": jnp.array([-4.0, 1.0])}
    mask = largest_share(tree, 0.5)
    np.testing.assert_array_equal(mask["a"], [[False, True], [True, False]])
    np.testing.assert_array_equal(mask["b"], [True, False])


def test_a_parameter_without_gradient_never_moves():
    np.testing.assert_array_equal(largest_share(jnp.array([0.0, 0, 0, 1]), 0.5), [0, 0, 0, 1])


def test_momentum_and_weight_decay_move_no_masked_parameter():
    optimizer = optax.adamw(0.01, weight_decay=0.1)
    method = SalUn(batch_size=2)
    result = unlearn(
        MODEL,
        init(),
        FORGET,
        RETAIN,
        method=method,
        key=KEY,
        epochs=2,
        optimizer=optimizer,
    )
    assert result.steps == 6
    saliency = np.abs(vector(jax.jit(jax.grad(MODEL.loss))(init(), FORGET, KEY)))
    salient = saliency >= np.sort(saliency)[len(saliency) // 2]
    moved = np.abs(vector(result.params) - vector(init()))
    np.testing.assert_array_equal(moved[~salient], 0.0)
    assert moved[salient].min() > 0


# The loss


def test_forgotten_latents_learn_to_draw_the_teachers_retained_image():
    retain = jnp.asarray(RETAIN[:1])  # alone, so that it is every pair
    found = updates(SalUn(retain_weight=0.0), teacher(), init(), jnp.asarray(FORGET), retain)

    def draw(params, latents):
        decoder = jax.tree.map(np.float64, params["decoder"])
        return latents @ decoder["kernel"] + decoder["bias"]

    encoder = np.float64(teacher()["encoder"]["kernel"])
    z, paired = FORGET.reshape(5, 4) @ encoder, np.asarray(retain).reshape(1, 4) @ encoder
    error = (draw(init(), z) - draw(teacher(), paired)) / VARIANCE / len(z)
    expected = {"kernel": z.T @ error, "bias": error.sum(0)}
    np.testing.assert_array_equal(vector(found["encoder"]), 0.0)
    np.testing.assert_allclose(vector(found["decoder"]), vector(expected), rtol=1e-3, atol=1e-3)


def test_a_pair_shares_its_noise():
    noisy = {
        **teacher(),
        "encoder": {**teacher()["encoder"], "log_variance": jnp.zeros(3)},
    }
    same = jnp.asarray(FORGET[:1])  # its own pair: what is drawn already is what is asked for
    found = updates(SalUn(retain_weight=0.0), noisy, noisy, same, same)
    np.testing.assert_allclose(vector(found), 0.0, atol=1e-5)


def test_the_retained_loss_is_added_by_its_weight():
    forget, retain = jnp.asarray(FORGET), jnp.asarray(RETAIN)
    without, whole = (
        vector(updates(SalUn(retain_weight=weight), teacher(), init(), forget, retain))
        for weight in (0.0, 2.0)
    )
    expected = 2.0 * vector(jax.jit(jax.grad(MODEL.loss))(init(), RETAIN, KEY))
    np.testing.assert_allclose(whole - without, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("settings", [{"retain_weight": -1.0}, {"share": 0.0}, {"share": 1.5}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=r"(retain_weight|share) .*got"):
        SalUn(**settings)
