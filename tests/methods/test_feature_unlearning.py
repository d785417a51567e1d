from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax import FeatureUnlearning
from gsu_jax.data import ImageSet
from gsu_jax.methods._feature_unlearning import Prepared, edit

FORGET, RETAIN = images(2, 5, offset=0.4), images(3, 9)
DIRECTION = np.array([0.6, 0.0, 0.8], np.float32)

jitted = jax.jit(FeatureUnlearning(edit_weight=1.7).gradients, static_argnums=0)


@cache
def teacher():
    return MODEL.init(jax.random.key(1))


def gradients(params, direction=DIRECTION, threshold=0.2, n=40):
    prepared = Prepared(teacher(), jnp.asarray(direction), jnp.float32(threshold))
    batch = batch_of(*np.zeros((2, n, 2, 2, 1), np.float32))
    return jitted(MODEL, prepared, params, batch, KEY)


def prepare(forget, retain):
    prepare = jax.jit(FeatureUnlearning().prepare, static_argnums=0)
    return prepare(MODEL, teacher(), *map(ImageSet.of, (forget, retain)), KEY)


def moved(seed):
    """Parameters near the teacher's."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + jnp.float32(0.1 * rng.normal(size=x.shape)), teacher())


def loss_by_hand(decoder, z, threshold, edit_weight):
    """In float64. MS-SSIM of 2x2 images is that of one window, its four pixels weigh the same."""
    trained = jax.tree.map(lambda x: np.asarray(x, np.float64), teacher()["decoder"])
    g, f = (lambda z, d=d: z @ d["kernel"] + d["bias"] for d in (decoder, trained))
    projection = z @ DIRECTION.astype(np.float64)
    shown = projection > threshold
    a, b = g(z), f(z)
    b[shown] = f(z - np.outer(projection - threshold, DIRECTION))[shown]
    means, covariance = (a.mean(1), b.mean(1)), ((a * b).mean(1) - a.mean(1) * b.mean(1))
    luminance = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
    structure = (2 * covariance + 9e-4) / (a.var(1) + b.var(1) + 9e-4)
    similarity = np.maximum(luminance, 1e-4) * np.maximum(structure, 1e-4)
    absolute = np.abs(a - b).mean(1)
    return np.where(shown, edit_weight * (absolute + 1 - similarity), absolute).mean()


def test_the_gradient_is_that_of_the_loss_by_finite_differences():
    params = moved(0)
    found = gradients(params).updates["decoder"]
    z = np.asarray(jax.random.normal(KEY, (40, 3)), np.float64)
    decoder = jax.tree.map(lambda x: np.asarray(x, np.float64), params["decoder"])
    for name, leaf in decoder.items():
        for index in np.ndindex(leaf.shape):
            ends = []
            for step in (1e-6, -1e-6):
                changed = {k: v.copy() for k, v in decoder.items()}
                changed[name][index] += step
                ends.append(loss_by_hand(changed, z, 0.2, 1.7))
            expected = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(found[name][index], expected, rtol=2e-3, atol=1e-4)


def test_the_encoder_gets_exactly_nothing():
    updates = gradients(moved(1)).updates
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates["encoder"]))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(updates["decoder"]))


def test_where_no_latent_shows_the_feature_the_teacher_stays_as_it_is():
    updates = gradients(teacher(), threshold=100.0).updates
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))


def test_an_edit_moves_what_shows_the_feature_onto_the_threshold_and_nothing_else():
    z = jnp.array([[2.0, 1.0, 1.0], [-2.0, 1.0, 1.0]])
    shown, edited = edit(z, jnp.asarray(DIRECTION), 0.5)
    np.testing.assert_array_equal(shown, [1, 0])
    np.testing.assert_allclose(edited[0], [2 - 0.6 * 1.5, 1, 1 - 0.8 * 1.5], rtol=1e-6)
    np.testing.assert_array_equal(edited[1], z[1])


def test_the_direction_joins_the_mean_latents_and_the_threshold_lies_midway():
    prepared = prepare(FORGET, RETAIN)
    shown, not_shown = (
        (x.reshape(len(x), 4) @ teacher()["encoder"]["kernel"]).mean(0) for x in (FORGET, RETAIN)
    )
    difference = np.asarray(shown - not_shown, np.float64)
    expected = difference / np.linalg.norm(difference)
    np.testing.assert_allclose(prepared.direction, expected, rtol=1e-4)
    np.testing.assert_allclose(prepared.threshold, expected @ (shown + not_shown) / 2, rtol=1e-4)


def test_sets_with_the_same_mean_latent_have_no_direction_and_nothing_is_edited():
    prepared = prepare(RETAIN[:1], RETAIN[:1])
    shown, edited = edit(jnp.ones((2, 3)), prepared.direction, prepared.threshold)
    np.testing.assert_array_equal(edited, 1.0)
    np.testing.assert_array_equal(shown, 0.0)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"edit_weight.*got -1"):
        FeatureUnlearning(edit_weight=-1)
