"""GradientSurgery(scope="measured"): the layers are measured before the run and treated apart."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_equal, random_tree, vector
from linear_autoencoder import MODEL, gradient, images
from method_steps import KEY, batch_of

from gsu_jax import (
    GenerativeModel,
    GradientSurgery,
    conflict_labels,
    layer_labels,
    project,
    unlearn,
)
from gsu_jax.data import ImageSet, concatenate
from gsu_jax.methods._measured_scope import choose_layers, project_measured
from gsu_jax.surgery import LayerConflictsState
from gsu_jax.unlearning import sweep

pytestmark = pytest.mark.long

FORGET, RETAIN = images(3, 4, offset=0.3), images(2, 6)
SHAPES = {name: {"kernel": (3, 4), "bias": (4,)} for name in "abcd"}
tree = partial(random_tree, shapes=SHAPES)
LABELS = layer_labels(tree(0))
Measured = partial(GradientSurgery, scope="measured")


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def state_of(conflicts, cosines, norms, steps=10):
    """A state with these figures for the layers a, b, ..."""

    def by_label(values, dtype=jnp.float32):
        return {name: dtype(value) for name, value in zip("abcd", values, strict=False)}

    cosine, norm = by_label(cosines), by_label(norms)
    return LayerConflictsState(
        jnp.int32(steps), by_label(conflicts, jnp.int32), cosine, cosine, norm, norm, cosine
    )


def apart(variant, state, k, threshold=0.0):
    chosen = jax.jit(lambda state: choose_layers(variant, state, k, threshold))(state)
    return {name for name, is_chosen in chosen.items() if is_chosen}


@cache
def compiled(variant, when, incoming):
    transform = project_measured(LABELS, variant, when, incoming)

    def step(u, r, layers):
        return transform.update(u, transform.init(u), retain_grads=r, layers=layers)

    return jax.jit(step)


def update(variant, layers, u, r, when="always", incoming="gradients"):
    """What the transform makes of u and r if the layers named in `layers` are apart."""
    layers = {name: jnp.asarray(name in layers) for name in SHAPES}
    return compiled(variant, when, incoming)(u, r, layers)


def projected(u, r, names):
    """The layers `names` of u, as one vector without its component along r, in float64."""
    a, b = (vector([t[name] for name in names]) for t in (u, r))
    return a - (a @ b) / (b @ b) * b


@pytest.mark.parametrize("variant", ["private", "remove"])
@pytest.mark.parametrize(("k", "expected"), [(1, "c"), (2, "bc"), (3, "abc"), (4, "abcd")])
def test_the_layers_of_most_conflict_are_apart_and_equal_counts_go_by_cosine(variant, k, expected):
    state = state_of([3, 9, 9, 1], [-0.9, -0.2, -0.5, 0.4], [1, 2, 3, 4])
    assert apart(variant, state, k) == set(expected)


@pytest.mark.parametrize(
    ("k", "threshold", "expected"),
    [
        (1, 0.0, "c"),  # d has a larger update, and conflicts
        (2, 0.0, "ac"),
        (3, 0.0, "abc"),  # b is not moved at all, d conflicts: the conflict comes first
        (1, -0.5, "d"),
    ],
)
def test_salient_layers_move_most_among_those_that_agree(k, threshold, expected):
    state = state_of([1, 0, 0, 9], [0.3, 0.1, 0.2, -0.4], [1, 0.5, 2, 9])
    assert apart("salient", state, k, threshold) == set(expected)


def test_a_layer_without_an_update_is_never_the_salient_one():
    # As with through="decoder": the encoder has no gradient, and all else conflicts.
    state = state_of([0, 9, 9, 9], [0.0, -0.3, -0.2, -0.4], [0, 1, 2, 3])
    assert apart("salient", state, 1) == {"c"}


@pytest.mark.parametrize("layers", ["", "b", "bd", "abcd"])
@pytest.mark.parametrize("when", ["always", "conflict"])
@pytest.mark.parametrize("incoming", ["gradients", "steps"])
def test_private_layers_are_projected_as_their_labels_say(layers, when, incoming):
    u, r = tree(0), tree(1)
    scores = {name: float(name in layers) for name in SHAPES}
    scope = conflict_labels(scores, len(layers), LABELS)
    sign = 1 if incoming == "gradients" else -1
    turned = jax.tree.map(lambda x: sign * x, u)
    expected = jax.tree.map(lambda x: sign * x, project(turned, r, when=when, scope=scope))
    found, state = update("private", layers, u, r, when, incoming)
    assert_trees_close(found, expected, rtol=1e-5, atol=1e-6)
    cosine = vector(u) @ vector(r) / np.linalg.norm(vector(u)) / np.linalg.norm(vector(r))
    np.testing.assert_allclose(state.cosine, cosine, rtol=1e-4)
    assert state.projected == (not np.array_equal(vector(found), vector(u)))


@pytest.mark.parametrize(("variant", "layers"), [("remove", "bd"), ("salient", "ac")])
def test_layers_that_do_not_forget_get_no_update_and_the_others_are_projected(variant, layers):
    u, r = tree(0), tree(1)
    found, _ = update(variant, layers, u, r)
    for name in "bd":
        np.testing.assert_array_equal(vector(found[name]), 0.0)
    expected = projected(u, r, "ac")
    np.testing.assert_allclose(vector([found[n] for n in "ac"]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["private", "remove", "salient"])
def test_each_variant_leaves_the_retained_loss_to_first_order(variant):
    u, r = tree(0), tree(1)
    found, _ = update(variant, "bc", u, r)
    left = abs(vector(found) @ vector(r))
    assert left < 1e-5 * np.linalg.norm(vector(u)) * np.linalg.norm(vector(r))


def test_a_broken_retain_gradient_changes_no_update_and_shows():
    u = tree(0)
    r = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), u)
    found, state = update("private", "a", u, r)
    assert_trees_equal(found, u)
    assert np.isnan(state.cosine)
    assert not state.projected


def test_the_counts_of_a_loss_without_noise_are_those_of_its_gradient(params):
    """One image in each set, so that every batch is the same."""
    forget, retain = FORGET[:1], RETAIN[:1]
    method = Measured(conflict_batches=5)
    state = method.measure_layers(MODEL, params, forget, retain, KEY)
    assert state.steps == 5
    a, r = gradient(params, forget), gradient(params, retain)
    for name in ("encoder", "decoder"):
        dot = -vector(a[name]) @ vector(r[name])
        np.testing.assert_allclose(state.mean_dot[name], dot, rtol=1e-4)
        norms = np.linalg.norm(vector(a[name])) * np.linalg.norm(vector(r[name]))
        np.testing.assert_allclose(state.mean_cosine[name], dot / norms, rtol=1e-4)
        assert state.conflicts[name] == 5 * (dot < 0)


def test_the_measurement_is_that_of_the_sign_and_of_the_key(params):
    measure = jax.jit(lambda method, key: method.measure_layers(MODEL, params, FORGET, RETAIN, key),
                      static_argnums=0)  # fmt: skip
    method = Measured(batch_size=2)
    up, again, other = (
        measure(method, KEY),
        measure(method, KEY),
        measure(method, jax.random.key(7)),
    )
    down = measure(Measured(batch_size=2, sign="descend"), KEY)
    assert_trees_equal(up, again)
    assert up.mean_dot["decoder"] != other.mean_dot["decoder"]
    np.testing.assert_allclose(up.mean_dot["decoder"], -down.mean_dot["decoder"], rtol=1e-6)


def test_padding_is_never_measured(params):
    """Only rows of each set: with others among them the mean norm would be NaN."""
    sets = concatenate(FORGET, np.concatenate([RETAIN] * 5))
    poisoned = np.array(sets.images)
    poisoned[len(FORGET) + 30 :] = np.nan
    sets = sets._replace(images=jnp.asarray(poisoned))
    assert np.isnan(sets.images).any()
    state = Measured().measure_layers(MODEL, params, sets.forget, sets.retain, KEY)
    assert state.steps == 32
    assert isinstance(sets.forget, ImageSet)


def test_metrics_have_no_slash_which_a_checkpoint_takes_for_a_branch():
    method, u = Measured(), {"encoder": [tree(0), tree(1)]}
    labels = set(jax.tree.leaves(layer_labels(u)))
    assert "encoder/0/a" in labels
    chosen = dict.fromkeys(labels, jnp.asarray(True))
    losses = GenerativeModel(lambda key: u, lambda p, x, key: optax.tree.norm(p) * x.mean(), None)
    step = method.gradients(losses, chosen, u, batch_of(FORGET, RETAIN), KEY)
    assert not [name for name in step.metrics if "/" in name]
    assert step.metrics["chosen encoder.0.a"] == 1


@pytest.mark.parametrize("variant", ["private", "remove", "salient"])
@pytest.mark.parametrize("retain_weight", [0.0, 2.0])
def test_a_run_moves_layers_as_the_variant_says(params, variant, retain_weight):
    method = Measured(variant=variant, conflict_layers=1, retain_weight=retain_weight)
    run = unlearn(
        MODEL, params, FORGET, RETAIN, method=method, key=KEY, epochs=3,
        optimizer=optax.sgd(0.01),
    )  # fmt: skip
    moved = {
        name: not np.array_equal(vector(run.params[name]), vector(params[name])) for name in params
    }
    chosen = method.choose_layers(method.measure_layers(MODEL, params, FORGET, RETAIN, KEY))
    for name in params:
        forgets = {"private": True, "remove": not chosen[name], "salient": chosen[name]}[variant]
        assert moved[name] == (forgets or retain_weight > 0)
        np.testing.assert_array_equal(run.history[f"chosen {name}"], float(chosen[name]))
        assert np.abs(run.history[f"cosine of {name}"]).max() <= 1
    assert set(run.history) >= {"cosine", "applied_cosine"}


def test_a_first_step_is_that_of_the_scope_that_the_counts_give(params):
    method = Measured(conflict_layers=1)
    state = method.measure_layers(MODEL, params, FORGET, RETAIN, KEY)
    grads = method.gradients(
        MODEL, method.choose_layers(state), params, batch_of(FORGET, RETAIN), KEY
    )
    chain = method.transform(optax.sgd(0.1), params, 1)
    found, _ = chain.update(
        grads.updates, chain.init(params), params, retain_grads=grads.retain_grads, **grads.extra
    )
    scope = conflict_labels(state.scores, 1, layer_labels(params))
    expected = project(grads.updates, grads.retain_grads, scope=scope)
    assert_trees_close(found, jax.tree.map(lambda x: -0.1 * x, expected), rtol=1e-4)


def test_a_sweep_over_the_threshold_and_the_weight_runs_in_one_program(params):
    stacked = jax.tree.map(lambda x: x[None], params)
    settings = {"conflict_threshold": [-0.5, 0.0], "retain_weight": [0.0, 1.0]}
    result = sweep(
        MODEL, stacked, FORGET, RETAIN, method=Measured(conflict_layers=1), settings=settings,
        keys=jax.random.split(KEY, 1),
    )  # fmt: skip
    assert result.history["cosine"].shape[:2] == (2, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "privat"}, r"variant must be .*'privat'\. Did you mean 'private'\?"),
        ({"conflict_layers": 0}, r"conflict_layers.*got 0"),
        ({"conflict_layers": 3}, r"conflict_layers.*at most 2.*got 3"),
        ({"conflict_layers": 2, "variant": "remove"}, r"conflict_layers.*at most 1.*got 2"),
        ({"conflict_batches": 0}, r"conflict_batches.*got 0"),
        ({"conflict_threshold": -1.5}, r"conflict_threshold.*got -1.5"),
        ({"conflict_threshold": 1.5}, r"conflict_threshold.*got 1.5"),
        ({"retain_gradients": 2}, r"retain_gradients.*got 2"),
        ({"incoming": "steps", "variant": "remove"}, r"incoming.*\"remove\".*\"steps\""),
        ({"incoming": "steps", "variant": "salient"}, r"incoming.*\"salient\".*\"steps\""),
        ({"scope": "global", "variant": "remove"}, r"variant .*scope=\"measured\".*'remove'"),
        ({"scope": "leaf", "conflict_layers": 5}, r"conflict_layers .*scope=\"measured\".*5"),
    ],
)
def test_settings_that_cannot_work_are_refused(params, settings, message):
    with pytest.raises(ValueError, match=message):
        unlearn(MODEL, params, FORGET, RETAIN, method=Measured(**settings), key=KEY)
