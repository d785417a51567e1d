from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from linear_autoencoder import MODEL, gradient, images
from scipy import optimize

from gsu_jax import METHODS, FineTune, GradientAscent, GradientSurgery, RedirectSurgery, unlearn
from gsu_jax.data import ImageSet
from gsu_jax.methods import Batch, get_method
from gsu_jax.methods._gradient_surgery import modules
from gsu_jax.methods.ingredients import MaskedBatch, find_neighbours, fit_transport
from gsu_jax.models import MLPVAEConfig, Posteriors
from gsu_jax.networks import mlp_vae
from gsu_jax.study import Recipe, start_training, train_epoch

KEY = jax.random.key(0)
PARAMS = MODEL.init(jax.random.key(1))
RETAIN = images(2, 6)
# Ascending the loss of the first raises the retained loss, that of the second lowers it.
ALIKE, UNLIKE = images(3, 4, offset=0.3), np.zeros((4, 2, 2, 1), np.float32)
UNLIKE[:, 1, 1] = 1.0


def batch_of(forget, retain):
    visited = MaskedBatch(jnp.asarray(forget), jnp.ones(len(forget)))
    return Batch(visited, jnp.arange(len(forget)), jnp.asarray(retain))


def updates_of(method, forget, optimizer=None):
    """What one step adds to the parameters, with SGD."""
    optimizer = optimizer or optax.sgd(0.1)
    grads = method.gradients(MODEL, None, PARAMS, batch_of(forget, RETAIN), KEY)
    chain = method.transform(optimizer, PARAMS, 1)
    return chain.update(grads.updates, chain.init(PARAMS), PARAMS, retain_grads=grads.retain_grads)[
        0
    ]


def vectors(forget):
    """The forget gradient in descent convention and the retain gradient, by the formula."""
    a, r = gradient(PARAMS, forget), gradient(PARAMS, RETAIN)
    return jax.tree.map(np.negative, a), r


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def assert_trees_close(found, expected):
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-4, atol=1e-6), found, expected
    )


def project(a, r, when="always", sign=1.0):
    """`a` without its part along `r`, each tree as one vector, in float64."""
    dot, square = flat(a) @ flat(r), flat(r) @ flat(r)
    if when == "conflict" and sign * dot >= 0:
        return a
    return jax.tree.map(lambda u, v: u - dot / square * v, a, r)


# The table


def test_every_method_is_found_by_its_name():
    assert {"before", "retrain", "fine_tune", "gradient_ascent", "gradient_surgery",
            "redirect_surgery"} <= set(METHODS)  # fmt: skip
    for name, method in METHODS.items():
        assert get_method(name) == method()
        assert get_method(name).name == name


def test_a_method_with_settings_is_itself():
    method = GradientSurgery(when="conflict")
    assert get_method(method) is method
    assert method != GradientSurgery()
    assert hash(method) == hash(GradientSurgery(when="conflict"))


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown method 'surgery'; known are .*gradient_surgery"):
        get_method("surgery")


# Ascent and fine-tuning


def test_ascent_is_minus_the_gradient():
    found = GradientAscent().gradients(MODEL, None, PARAMS, batch_of(ALIKE, RETAIN), KEY)
    assert_trees_close(found.updates, vectors(ALIKE)[0])
    assert found.metrics["forget_loss"] > 0


def test_fine_tuning_descends_the_retained_loss():
    found = FineTune().gradients(MODEL, None, PARAMS, batch_of(RETAIN, RETAIN), KEY)
    assert_trees_close(found.updates, gradient(PARAMS, RETAIN))


# Surgery against its definition


def test_the_two_forget_sets_conflict_and_agree():
    dots = [flat(a) @ flat(r) for a, r in map(vectors, (ALIKE, UNLIKE))]
    assert dots[0] < -0.01
    assert dots[1] > 0.01


@pytest.mark.parametrize("forget", [ALIKE, UNLIKE], ids=["conflict", "agree"])
@pytest.mark.parametrize("when", ["always", "conflict"])
@pytest.mark.parametrize("incoming", ["gradients", "steps"])
def test_a_step_is_the_projection_on_one_long_vector(when, incoming, forget):
    a, r = vectors(forget)
    expected = jax.tree.map(lambda u: -0.1 * u, project(a, r, when))
    found = updates_of(GradientSurgery(when=when, incoming=incoming), forget)
    assert_trees_close(found, expected)


@pytest.mark.parametrize("when", ["always", "conflict"])
def test_scope_leaf_projects_each_array_by_itself(when):
    a, r = vectors(ALIKE)
    expected = jax.tree.map(lambda u, v: -0.1 * project([u], [v], when)[0], a, r)
    assert_trees_close(updates_of(GradientSurgery(when=when, scope="leaf"), ALIKE), expected)


def test_scope_module_projects_each_layer_by_itself():
    a, r = vectors(ALIKE)
    expected = {
        part: jax.tree.map(lambda u: -0.1 * u, project(a[part], r[part]))
        for part in ("encoder", "decoder")
    }
    found = updates_of(GradientSurgery(scope="module"), ALIKE)
    assert_trees_close(found, expected)
    assert np.abs(flat(found) - flat(updates_of(GradientSurgery(scope="leaf"), ALIKE))).max() > 1e-3


def test_a_module_is_what_shares_a_parent():
    labels = modules({"a": {"kernel": 1, "bias": 2}, "b": [{"kernel": 3}, {"kernel": 4}]})
    assert labels["a"]["kernel"] == labels["a"]["bias"]
    assert len(set(jax.tree.leaves(labels))) == 3


@pytest.mark.parametrize("k", [2, 3])
def test_the_span_of_k_retain_gradients_is_taken_out(k):
    a, _ = vectors(ALIKE)
    parts = [flat(gradient(PARAMS, part)) for part in np.split(RETAIN, k)]
    basis, _ = np.linalg.qr(np.stack(parts, 1))
    expected = -0.1 * (flat(a) - basis @ (basis.T @ flat(a)))
    found = flat(updates_of(GradientSurgery(retain_gradients=k), ALIKE))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    for part in parts:
        assert abs(found @ part) < 1e-5 * np.linalg.norm(found) * np.linalg.norm(part)


@pytest.mark.parametrize("k", [1, 2])
def test_the_weighted_retain_gradient_is_added_after_the_projection(k):
    plain = updates_of(GradientSurgery(retain_gradients=k), ALIKE)
    _, r = vectors(ALIKE)
    expected = jax.tree.map(lambda u, v: u - 0.1 * 3.0 * v, plain, r)
    assert_trees_close(
        updates_of(GradientSurgery(retain_gradients=k, retain_weight=3.0), ALIKE), expected
    )


def test_projected_adam_steps_are_orthogonal_to_the_retain_gradient_and_adams_own_are_not():
    _, r = vectors(ALIKE)

    def cosine(incoming):
        step = flat(updates_of(GradientSurgery(incoming=incoming), ALIKE, optax.adam(0.1)))
        return step @ flat(r) / np.linalg.norm(step) / np.linalg.norm(flat(r))

    assert abs(cosine("steps")) < 1e-5
    assert abs(cosine("gradients")) > 1e-2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scope": "layer"}, r"scope .*got 'layer'"),
        ({"when": "never"}, 'when must be "always" or "conflict"'),
        ({"incoming": "updates"}, 'incoming must be "gradients" or "steps"'),
        ({"loss": "mse"}, "loss must be one of elbo, reconstruction, found 'mse'"),
        ({"retain_gradients": 0}, "retain_gradients must be at least 1, found 0"),
        ({"retain_gradients": 4}, "retain_gradients=4 must divide the retain batch of 6 images"),
        ({"retain_gradients": 2, "scope": "leaf"}, "over the whole tree"),
        ({"retain_weight": 1.0, "incoming": "steps"}, "retain_weight=1.0 has no effect where"),
        ({"retain_weight": 1.0, "rule": "metric"}, "retain_weight=1.0 has no effect where"),
        ({"rule": "mean"}, 'rule must be "project" or "metric" or "gru" or'),
        ({"sign": "up"}, r"sign .*got 'up'"),
        ({"rule": "gru", "when": "conflict"}, "when means nothing with rule='gru'"),
        ({"rule": "metric", "incoming": "steps"}, "incoming means nothing with rule='metric'"),
        (
            {"rule": "pcgrad", "retain_weight": 1.0},
            "retain_weight means nothing with rule='pcgrad'",
        ),
        ({"rule": "s", "sign": "descend"}, "sign means nothing with rule='s'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        unlearn(MODEL, PARAMS, ALIKE, RETAIN, method=GradientSurgery(**settings), key=KEY)


# The other rules


def cagrad_by_search(a, r, c=0.5):
    """The least of the dual over a fine grid of weights."""
    mean, weights = (a + r) / 2, np.linspace(0, 1, 100_001)[:, None]
    mixed = weights * a + (1 - weights) * r
    norms = np.linalg.norm(mixed, axis=1)
    reach = c * np.linalg.norm(mean)
    best = np.argmin(mixed @ mean + reach * norms)
    return mean + reach * mixed[best] / norms[best]


RULES = {
    "pcgrad": lambda a, r: project([a], [r], "conflict")[0] + project([r], [a], "conflict")[0],
    "cagrad": cagrad_by_search,
    "gru": lambda a, r: project([a], [r], "conflict")[0],
    "s": lambda a, r: project([r], [a])[0],
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("forget", [ALIKE, UNLIKE], ids=["conflict", "agree"])
def test_a_first_step_of_each_rule_is_its_formula(rule, forget):
    expected = -0.1 * RULES[rule](*map(flat, vectors(forget)))
    found = flat(updates_of(GradientSurgery(rule=rule), forget))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_metric_rule_brings_its_own_adam_and_asks_for_it():
    method, r = GradientSurgery(rule="metric", learning_rate=0.1), flat(vectors(ALIKE)[1])
    step = flat(updates_of(method, ALIKE, method.optimizer(1)))
    a = flat(vectors(ALIKE)[0])  # Adam's first step is a / |a|
    expected = np.sign(a) - (r @ np.sign(a)) / (r @ (r / np.abs(a))) * r / np.abs(a)
    np.testing.assert_allclose(step, -0.1 * expected, atol=1e-4)
    assert abs(step @ r) < 1e-5 * np.linalg.norm(step) * np.linalg.norm(r)
    with pytest.raises(ValueError, match="rule='metric' is inside the optimiser"):
        updates_of(method, ALIKE, optax.adam(0.1))


def test_on_conflict_with_k_retain_gradients_no_part_of_the_batch_is_harmed():
    found = flat(updates_of(GradientSurgery(when="conflict", retain_gradients=3), ALIKE))
    parts = np.stack([flat(gradient(PARAMS, part)) for part in np.split(RETAIN, 3)])
    weights, _ = optimize.nnls(parts.T, -flat(vectors(ALIKE)[0]))
    expected = -0.1 * (flat(vectors(ALIKE)[0]) + parts.T @ weights)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert (weights > 0).any()


def test_the_other_sign_descends_the_forget_loss():
    a, r = vectors(ALIKE)
    descend = GradientSurgery(sign="descend")
    assert_trees_close(updates_of(descend, ALIKE), jax.tree.map(lambda u: 0.1 * u, project(a, r)))
    losses = [
        method.gradients(MODEL, None, PARAMS, batch_of(ALIKE, RETAIN), KEY).metrics["forget_loss"]
        for method in (descend, GradientSurgery())
    ]
    np.testing.assert_allclose(*losses)


# A VAE that has learnt to draw two digits


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    x = (data.images / 16.0)[..., None].astype(np.float32)
    return x[data.target == 1], x[data.target == 0]


@pytest.fixture(scope="module")
def vae(digits):
    model = mlp_vae(MLPVAEConfig((8, 8, 1), (48,), 4))
    recipe = Recipe(batch_size=32, learning_rate=5e-3)
    state, data = start_training(model.init, recipe, KEY[None]), jnp.concatenate(digits)
    for _ in range(40):
        state, _ = train_epoch(model.loss, recipe, state, data, KEY[None])
    return model, jax.tree.map(lambda leaf: leaf[0], state.params)


def test_surgery_through_the_decoder_gives_the_encoder_exactly_nothing(vae, digits):
    model, params = vae
    method = GradientSurgery(through="decoder", loss="reconstruction")
    batch = batch_of(digits[0][:8], digits[1][:8])
    found = jax.jit(partial(method.gradients, model, None))(params, batch, KEY)
    for grads in (found.updates, found.retain_grads):
        np.testing.assert_array_equal(flat(grads["encoder"]), 0.0)
        assert np.abs(flat(grads["decoder"])).max() > 0.01


def prepare(method, model, params, *sets):
    return method.prepare(model, params, *map(ImageSet.of, sets), KEY)


@pytest.fixture(scope="module")
def redirect_gradients(vae, digits):
    """The forget gradient of redirect at the teacher, by the weight of the encoder's term."""
    model, params = vae
    forget, retain = map(jnp.asarray, digits)
    batch = batch_of(forget[:8], retain[:8])

    @jax.jit
    def gradients(params):
        prepared = prepare(RedirectSurgery(), model, params, forget, retain)
        return {
            weight: RedirectSurgery(encoder_weight=weight)
            .gradients(model, prepared, params, batch, KEY)
            .updates
            for weight in (0.0, 1.0, 2.0)
        }

    return gradients(params)


def test_without_an_encoder_term_redirect_moves_the_decoder_alone(redirect_gradients):
    grads = redirect_gradients[0.0]
    np.testing.assert_array_equal(flat(grads["encoder"]), 0.0)
    assert np.abs(flat(grads["decoder"])).max() > 0.1


def test_the_encoder_term_gives_the_decoder_no_gradient(redirect_gradients):
    once, twice = redirect_gradients[1.0], redirect_gradients[2.0]
    np.testing.assert_allclose(flat(twice["decoder"]), flat(once["decoder"]), rtol=1e-5)
    np.testing.assert_allclose(flat(twice["encoder"]), 2 * flat(once["encoder"]), rtol=1e-5)
    assert np.abs(flat(once["encoder"])).max() > 0.01


@pytest.mark.parametrize(("images", "seen"), [(128, 16), (9, 1), (2, 1), (1, 0)])
def test_redirect_shares_a_batch_out_between_its_terms(images, seen):
    assert RedirectSurgery().seen_by_encoder(images) == seen
    assert RedirectSurgery(encoder_weight=0.0).seen_by_encoder(images) == 0


def test_redirect_draws_retained_images_where_it_drew_forgotten_ones(vae, digits):
    model, params = vae
    forget, retain = digits
    result = unlearn(
        model, params, forget, retain,
        method=RedirectSurgery(batch_size=16, learning_rate=1e-2), key=KEY, epochs=4,
    )  # fmt: skip
    latents = model.encode(params, forget)[0]

    def share_nearer_to_the_retained(params):
        drawn = np.asarray(model.mean(model.decode(params, latents)))
        to_forgotten, to_retained = (
            np.square(drawn - digit.mean(0)).sum((1, 2, 3)) for digit in (forget, retain)
        )
        return (to_retained < to_forgotten).mean()

    assert share_nearer_to_the_retained(params) < 0.1
    assert share_nearer_to_the_retained(result.params) > 0.9
    forgotten, kept = (
        float(model.loss(result.params, x, KEY) - model.loss(params, x, KEY)) for x in digits
    )
    assert forgotten > 10
    assert kept < 1


def test_redirects_forget_gradient_starts_heavier_where_a_small_share_is_forgotten(vae, digits):
    model, params = vae
    forget, retain = map(jnp.asarray, digits)

    @jax.jit
    def updates(progress, scale):
        prepared = prepare(RedirectSurgery(), model, params, forget, retain)
        prepared = prepared._replace(scale=scale)
        batch = batch_of(forget[:8], retain[:8])._replace(progress=progress)
        return RedirectSurgery().gradients(model, prepared, params, batch, KEY).updates

    plain = flat(updates(0.0, 1.0))
    for progress, factor in ((0.0, 4.0), (0.5, 2.0), (1.0, 1.0)):
        np.testing.assert_allclose(flat(updates(progress, 0.25)), factor * plain, rtol=1e-4)


def test_redirects_retain_gradient_pulls_the_drawings_of_neighbours_back(vae, digits):
    model, params = vae
    forget, retain = map(jnp.asarray, digits)
    method = RedirectSurgery()
    moved = jax.tree.map(lambda p: p + 0.05 * jax.random.normal(KEY, p.shape), params)

    @jax.jit
    def pull(at, weight):
        """What holding adds to the retain gradient, taken at parameters `at`."""
        prepared = prepare(method, model, params, forget, retain)
        batch = batch_of(forget[:8], retain[:8])
        held, free = (
            method.gradients(model, prepared._replace(hold_weight=w), at, batch, KEY).retain_grads
            for w in (weight, 0.0)
        )
        return jax.tree.map(jnp.subtract, held, free)

    once, twice = pull(moved, 1.0), pull(moved, 2.0)
    np.testing.assert_array_equal(flat(once["encoder"]), 0.0)
    np.testing.assert_allclose(flat(twice), 2 * flat(once), rtol=1e-2, atol=1e-3)
    away = flat(jax.tree.map(jnp.subtract, moved, params))
    assert flat(once) @ away > 10 * abs(flat(pull(params, 1.0)) @ away)  # nothing to pull at theta*


@pytest.mark.parametrize(
    ("forget", "retain", "scale"),
    [(6742, 11982, 1.0), (1, 1, 1.0), (2, 8, 0.6), (1, 9, 0.3), (1, 999, 0.3)],
)
def test_redirects_scale_grows_with_the_share_that_is_forgotten(forget, retain, scale):
    assert RedirectSurgery().scale(forget, retain) == pytest.approx(scale)


def test_redirect_fits_its_map_for_the_share_that_is_forgotten(vae):
    model, params = vae
    images = jax.random.uniform(KEY, (100, 8, 8, 1))
    forget, retain = images[:10], images[10:]

    @jax.jit
    def both(forget, retain):
        prepared = prepare(RedirectSurgery(), model, params, forget, retain)
        both = [Posteriors(*model.encode(params, images)) for images in (forget, retain)]
        near = find_neighbours(*both, 10 / 90)
        return prepared, fit_transport(*both, near, overshoot=0.09 * 0.4)

    prepared, expected = both(forget, retain)
    assert float(prepared.scale) == pytest.approx(0.3)
    for found, wanted in zip(prepared.transport, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_redirects_learning_rate_falls_to_zero_over_the_run():
    optimizer = RedirectSurgery(learning_rate=0.1, momentum=0.0).optimizer(steps=4)
    state, sizes = optimizer.init(jnp.zeros(())), []
    for _ in range(5):
        step, state = optimizer.update(jnp.ones(()), state)
        sizes.append(-float(step))
    np.testing.assert_allclose(sizes, 0.05 * (1 + np.cos(np.pi * np.arange(5) / 4)), atol=1e-6)


def test_ravelled_and_leafwise_vectors_are_the_same_here():
    a, _ = vectors(ALIKE)
    np.testing.assert_allclose(ravel_pytree(a)[0], flat(a), rtol=1e-6)
