from functools import partial

import gaussian_vae
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, cosine, vector
from linear_autoencoder import MODEL, gradient, images
from method_steps import KEY, batch_of, first_step
from scipy import optimize

from gsu_jax import GradientSurgery, RedirectSurgery, unlearn
from gsu_jax.methods import SurgeryInAdamMetric

RETAIN = images(2, 6)
# Ascending the loss of the first raises the retained loss, that of the second lowers it.
ALIKE, UNLIKE = images(3, 4, offset=0.3), np.zeros((4, 2, 2, 1), np.float32)
UNLIKE[:, 1, 1] = 1.0

assert_close = partial(assert_trees_close, rtol=1e-4)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def update(method, params, forget=ALIKE, optimizer=None):
    return first_step(method, MODEL, params, batch_of(forget, RETAIN), optimizer)


def vectors(params, forget=ALIKE):
    """The forget gradient in the descent convention and the retain gradient, by their formula."""
    return jax.tree.map(np.negative, gradient(params, forget)), gradient(params, RETAIN)


def project(a, r, when="always"):
    """`a` without its component along `r`, each tree as one vector, in float64."""
    dot, square = vector(a) @ vector(r), vector(r) @ vector(r)
    if when == "conflict" and dot >= 0:
        return a
    return jax.tree.map(lambda u, v: u - dot / square * v, a, r)


def parts_of_retain(params, k):
    return [vector(gradient(params, part)) for part in np.split(RETAIN, k)]


def test_one_forget_set_conflicts_and_the_other_does_not(params):
    assert cosine(*vectors(params, ALIKE)) < -0.01
    assert cosine(*vectors(params, UNLIKE)) > 0.01


@pytest.mark.parametrize("forget", [ALIKE, UNLIKE], ids=["conflict", "agree"])
@pytest.mark.parametrize("when", ["always", "conflict"])
@pytest.mark.parametrize("incoming", ["gradients", "steps"])
def test_a_step_is_the_projection_of_one_long_vector(params, when, incoming, forget):
    expected = jax.tree.map(lambda u: -0.1 * u, project(*vectors(params, forget), when))
    assert_close(update(GradientSurgery(when=when, incoming=incoming), params, forget), expected)


@pytest.mark.parametrize("when", ["always", "conflict"])
def test_scope_leaf_projects_each_array(params, when):
    expected = jax.tree.map(lambda u, v: -0.1 * project([u], [v], when)[0], *vectors(params))
    assert_close(update(GradientSurgery(when=when, scope="leaf"), params), expected)


def test_scope_module_projects_each_layer(params):
    a, r = vectors(params)
    expected = {
        part: jax.tree.map(lambda u: -0.1 * u, project(a[part], r[part]))
        for part in ("encoder", "decoder")
    }
    assert_close(update(GradientSurgery(scope="module"), params), expected)


def test_the_span_of_k_retain_gradients_is_projected_out(params):
    parts = parts_of_retain(params, 3)
    basis, _ = np.linalg.qr(np.stack(parts, 1))
    a = vector(vectors(params)[0])
    found = vector(update(GradientSurgery(retain_gradients=3), params))
    np.testing.assert_allclose(found, -0.1 * (a - basis @ (basis.T @ a)), rtol=1e-3, atol=1e-5)
    for part in parts:
        assert abs(found @ part) < 1e-5 * np.linalg.norm(found) * np.linalg.norm(part)


def test_on_conflict_k_retain_gradients_span_a_cone(params):
    parts, a = np.stack(parts_of_retain(params, 3)), vector(vectors(params)[0])
    found = vector(update(GradientSurgery(when="conflict", retain_gradients=3), params))
    weights, _ = optimize.nnls(parts.T, -a)
    assert (weights > 0).any()
    np.testing.assert_allclose(found, -0.1 * (a + parts.T @ weights), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3])
def test_the_weighted_retain_gradient_is_added_after_the_projection(params, k):
    plain = update(GradientSurgery(retain_gradients=k), params)
    expected = jax.tree.map(lambda u, v: u - 0.1 * 3.0 * v, plain, vectors(params)[1])
    weighted = GradientSurgery(retain_gradients=k, retain_weight=3.0)
    assert_close(update(weighted, params), expected)


@pytest.mark.parametrize(("incoming", "is_orthogonal"), [("steps", True), ("gradients", False)])
def test_only_projected_steps_of_adam_are_orthogonal(params, incoming, is_orthogonal):
    step = update(GradientSurgery(incoming=incoming), params, optimizer=optax.adam(0.1))
    assert (abs(cosine(step, vectors(params)[1])) < 1e-5) == is_orthogonal


def test_sign_descend_lowers_the_forget_loss(params):
    descend = GradientSurgery(sign="descend")
    expected = jax.tree.map(lambda u: 0.1 * u, project(*vectors(params)))
    assert_close(update(descend, params), expected)
    losses = [
        method.gradients(MODEL, None, params, batch_of(ALIKE, RETAIN), KEY).metrics["forget_loss"]
        for method in (descend, GradientSurgery())
    ]
    assert losses[0] == losses[1] > 0


def test_through_the_decoder_the_encoder_gets_no_gradient():
    model = gaussian_vae.MODEL
    method = GradientSurgery(through="decoder", loss="reconstruction")
    step = method.gradients(
        model, None, model.init(jax.random.key(1)), batch_of(ALIKE, RETAIN), KEY
    )
    for grads in (step.updates, step.retain_grads):
        np.testing.assert_array_equal(vector(grads["encoder"]), 0.0)
        assert jnp.abs(grads["decoder"]["kernel"]).max() > 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scope": "layer"}, r"scope.*got 'layer'"),
        ({"when": "never"}, r"when.*got 'never'"),
        ({"incoming": "updates"}, r"incoming.*got 'updates'"),
        ({"sign": "up"}, r"sign.*got 'up'"),
        ({"loss": "mse"}, r"loss.*got 'mse'"),
        ({"retain_gradients": 0}, r"retain_gradients.*got 0"),
        ({"retain_gradients": 4}, r"retain_gradients.*got 4"),
        ({"retain_gradients": 2, "scope": "leaf"}, "scope"),
        ({"retain_weight": 1.0, "incoming": "steps"}, r"retain_weight.*got 1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(params, settings, message):
    with pytest.raises(ValueError, match=message):
        unlearn(MODEL, params, ALIKE, RETAIN, method=GradientSurgery(**settings), key=KEY)


@pytest.mark.parametrize("method", [GradientSurgery, SurgeryInAdamMetric, RedirectSurgery])
def test_a_setting_that_is_misspelled_is_refused_when_the_method_is_built(method):
    with pytest.raises(ValueError, match=r"when must be .*'allways'\. Did you mean 'always'\?"):
        method(when="allways")


@pytest.mark.parametrize(
    ("setting", "value", "meant"),
    [("incoming", "gradient", "gradients"), ("scope", "globl", "global"), ("sign", "asc", None)],
)
def test_settings_of_surgery_are_refused_with_the_nearest_choice(setting, value, meant):
    with pytest.raises(ValueError, match=f"{setting} must be .*got '{value}'") as caught:
        GradientSurgery(**{setting: value})
    assert (f"Did you mean '{meant}'?" in str(caught.value)) == (meant is not None)
