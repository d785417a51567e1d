import gaussian_vae
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussian_vae import MODEL, VARIANCE
from helpers import vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax.data import ImageSet
from gsu_jax.methods import ReTrack
from gsu_jax.methods._retrack import nearest_means
from gsu_jax.models import Posteriors

FORGET, RETAIN = images(2, 5, offset=0.4), images(3, 40)


@pytest.fixture(scope="module")
def params():
    """Posteriors so wide that several neighbors have a weight; the first sample is z itself."""
    params = MODEL.init(jax.random.key(1))
    return params | {"encoder": params["encoder"] | {"log_variance": jnp.full(3, -1.0)}}


def prepared(method, params):
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    return method.prepare(MODEL, params, *sets, KEY)


def step(method, params, mask=None, forget=FORGET):
    ready = prepared(method, params)
    return jax.jit(method.gradients, static_argnums=0)(
        MODEL, ready, params, batch_of(forget, RETAIN[:8], mask), KEY
    )


def drawn_latents(params):
    """The z of the step: `forget_retain_grads` splits the key, the posterior is sampled once."""
    mean, log_variance = MODEL.encode(params, jnp.asarray(FORGET))
    noise = jax.random.normal(jax.random.split(KEY)[0], mean.shape)
    return np.asarray(mean + jnp.exp(log_variance / 2) * noise, np.float64)


def by_hand(params, k):
    """The gradient of the first term in the decoder, from its formula."""
    kernel, mean = np.float64(params["decoder"]["kernel"]), RETAIN.reshape(-1, 4)
    means = mean @ np.float64(params["encoder"]["kernel"])
    own = FORGET.reshape(-1, 4) @ np.float64(params["encoder"]["kernel"])
    gradient, weights = np.zeros((3, 4)), []
    for z, center in zip(drawn_latents(params), own, strict=True):
        near = np.argsort(np.square(means - center).sum(1))[:k]
        densities = np.exp(-0.5 * np.square(z - means[near]).sum(1) / np.exp(-1.0))
        weights.append(densities / densities.sum())
        target = weights[-1] @ RETAIN.reshape(-1, 4)[near]
        drawn = z @ kernel + np.float64(params["decoder"]["bias"])
        gradient += np.outer(z, drawn - target) / VARIANCE / len(FORGET)
    return gradient, np.stack(weights)


@pytest.mark.parametrize("k", [1, 4])
def test_forgotten_latents_are_taught_their_neighbors_by_their_densities(params, k):
    method = ReTrack(forget_share=1.0, neighbors=k)
    expected, weights = by_hand(params, k)
    assert k == 1 or (weights.max(1) < 0.95).all()  # more than one neighbor counts
    found = step(method, params).updates
    np.testing.assert_allclose(found["decoder"]["kernel"], expected, rtol=1e-3, atol=1e-4)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["encoder"]))


def test_share_weighs_forgetting_against_the_retained_loss(params):
    zero, half, one = (
        vector(step(ReTrack(forget_share=s), params).updates) for s in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(half, (zero + one) / 2, rtol=1e-4, atol=1e-5)
    retained = vector(step(ReTrack(), params).retain_grads)
    np.testing.assert_allclose(zero, retained, rtol=1e-6)


def test_a_masked_image_does_not_count(params):
    method, mask = ReTrack(), np.float32([1, 1, 1, 1, 0])
    ready = prepared(method, params)
    run = jax.jit(method.gradients, static_argnums=0)
    batch = batch_of(FORGET, RETAIN[:8], mask)
    moved = batch._replace(indices=batch.indices.at[4].set(0))
    one, other = (run(MODEL, ready, params, b, KEY).updates for b in (batch, moved))
    np.testing.assert_array_equal(vector(one), vector(other))


def test_neighbors_are_the_nearest_of_the_images_that_exist():
    places = jnp.float32([[0.0], [3.0], [1.0], [9.0], [0.1]])
    candidates = Posteriors(places, 0 * places, 4)  # the last is padding
    found = nearest_means(jnp.float32([[0.2], [8.0]]), candidates, 3)
    assert found.tolist() == [[0, 2, 1], [3, 1, 2]]
    assert nearest_means(jnp.float32([[0.2]]), candidates, 9).tolist() == [[0, 2, 1, 3, 4]]


@pytest.mark.long
def test_padding_among_the_neighbors_has_no_weight(params):
    """Two retained images, ten neighbors asked for: the others are padding."""
    method = ReTrack(forget_share=1.0)
    padded = np.concatenate([RETAIN[:2], np.full((9, *gaussian_vae.SHAPE), 50.0, np.float32)])
    results = []
    for retained in (ImageSet.of(RETAIN[:2]), ImageSet(jnp.asarray(padded), 0, jnp.int32(2))):
        ready = method.prepare(MODEL, params, ImageSet.of(FORGET), retained, KEY)
        found = method.gradients(MODEL, ready, params, batch_of(FORGET, RETAIN[:8]), KEY)
        results.append(vector(found.updates))
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"forget_share": -0.1}, {"forget_share": 1.1}, {"neighbors": 0}, {"candidates": 0}]
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} .*got"):
        ReTrack(**settings)
