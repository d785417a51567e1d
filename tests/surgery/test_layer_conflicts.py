"""`layer_conflicts` counts, layer by layer, what a computation by hand counts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_trees_equal, cosine, random_tree, vector

from gsu_jax import conflict_labels, layer_conflicts, layer_labels, project, project_conflicting
from gsu_jax.surgery import conflict_metrics

MODULES = ("decoder", "encoder")
STEPS = 6


def pairs(n=STEPS):
    return [(random_tree(seed), random_tree(100 + seed)) for seed in range(n)]


def run(counter, steps):
    """The state after `steps`, pairs of an update and a retain gradient, in one compiled scan."""

    def step(state, pair):
        u, r = pair
        passed, state = counter.update(u, state, retain_grads=r)
        return state, passed

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
    return jax.jit(lambda pairs: jax.lax.scan(step, counter.init(steps[0][0]), pairs))(stacked)


def by_hand(steps, name):
    """The cosines, inner products and both norms of layer `name`, [steps] each."""
    us, rs = ([vector(pair[i][name]) for pair in steps] for i in (0, 1))
    return (
        np.array([cosine([u], [r]) for u, r in zip(us, rs, strict=True)]),
        np.array([u @ r for u, r in zip(us, rs, strict=True)]),
        np.array([np.linalg.norm(u) for u in us]),
        np.array([np.linalg.norm(r) for r in rs]),
    )


@pytest.mark.parametrize("threshold", [0.0, -0.1, 0.2])
def test_each_layer_has_the_counts_and_means_of_a_computation_by_hand(threshold):
    steps = pairs()
    state, _ = run(layer_conflicts(threshold=threshold), steps)
    assert state.steps == STEPS
    assert set(state.conflicts) == set(MODULES)
    for name in MODULES:
        cosines, dots, update_norms, retain_norms = by_hand(steps, name)
        count = int((cosines < threshold).sum())
        assert 0 < count < STEPS
        assert state.conflicts[name] == count
        np.testing.assert_allclose(state.share[name], count / STEPS, rtol=1e-6)
        expected = [np.mean(x) for x in (cosines, dots, update_norms, retain_norms)]
        found = [mean[name] for mean in state[2:6]]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.last_cosine[name], cosines[-1], rtol=1e-5)


def test_updates_pass_through_unchanged():
    steps = pairs()
    _, passed = run(layer_conflicts(), steps)
    for i, (u, _) in enumerate(steps):
        assert_trees_equal(jax.tree.map(lambda x, i=i: x[i], passed), u)


@pytest.mark.parametrize("labels", ["module", "leaf", "global", lambda path: path[-1]])
def test_the_inner_products_of_the_layers_add_up_to_that_of_the_model(labels):
    steps = pairs()
    state, _ = run(layer_conflicts(labels), steps)
    expected = np.mean([vector(u) @ vector(r) for u, r in steps])
    np.testing.assert_allclose(sum(state.mean_dot.values()), expected, rtol=1e-4)


def test_squares_of_the_mean_norms_add_up_after_one_step():
    (u, r) = pairs(1)[0]
    state, _ = run(layer_conflicts("leaf"), [(u, r)])
    squares = [sum(n**2 for n in norms.values()) for norms in state[4:6]]
    np.testing.assert_allclose(squares, [vector(x) @ vector(x) for x in (u, r)], rtol=1e-5)


def test_one_layer_has_the_cosine_of_the_whole_model():
    (u, r) = pairs(1)[0]
    state, _ = run(layer_conflicts("global"), [(u, r)])
    np.testing.assert_allclose(state.mean_cosine["global"], cosine(u, r), rtol=1e-5)


def test_a_cosine_at_the_threshold_is_no_conflict():
    u, r = {"w": jnp.float32([1, 0])}, {"w": jnp.float32([0, 1])}
    for threshold, count in ((0.0, 0), (0.5, 1)):
        state, _ = run(layer_conflicts(threshold=threshold), [(u, r)])
        assert state.conflicts["(root)"] == count


def test_steps_of_an_optimizer_conflict_with_the_opposite_sign():
    u, r = pairs(1)[0]
    chain = optax.chain(
        layer_conflicts(threshold=-0.05),
        optax.sgd(1.0),
        layer_conflicts(threshold=-0.05, incoming="steps"),
    )
    _, (before, _, after) = chain.update(u, chain.init(u), retain_grads=r)
    assert before.conflicts == after.conflicts
    for name in MODULES:
        np.testing.assert_allclose(before.mean_cosine[name], -after.mean_cosine[name], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_counts_and_cosines_do_not_depend_on_the_scale(scale):
    steps = pairs(3)
    scaled = jax.tree.map(lambda x: scale * x, steps)
    expected, found = (run(layer_conflicts(), s)[0] for s in (steps, scaled))
    assert_trees_equal(found.conflicts, expected.conflicts)
    for name in MODULES:
        np.testing.assert_allclose(found.mean_cosine[name], expected.mean_cosine[name], rtol=1e-4)
        ratio = found.mean_update_norm[name] / scale
        np.testing.assert_allclose(ratio, expected.mean_update_norm[name], rtol=1e-5)


def test_a_step_that_is_not_finite_is_not_counted():
    steps = pairs(3)
    broken = jax.tree.map(lambda x: jnp.full_like(x, np.nan), steps[0][1]["encoder"])
    with_broken = [*steps, (steps[0][0], steps[0][1] | {"encoder": broken})]
    expected, found = (run(layer_conflicts(), s)[0] for s in (steps, with_broken))
    assert_trees_equal(found[:6], expected[:6])
    assert np.isnan(found.last_cosine["encoder"])
    assert np.isfinite(found.last_cosine["decoder"])


def test_over_an_axis_both_gradients_are_averaged_before_they_are_measured():
    us, rs = random_tree(0, k=2), random_tree(1, k=2)
    counter = layer_conflicts(axis_name="batch")

    def update(u, r):
        return counter.update(u, counter.init(u), retain_grads=r)

    passed, found = jax.jit(jax.vmap(update, axis_name="batch"))(us, rs)
    assert_trees_equal(passed, us)
    mean = [jax.tree.map(lambda x: x.mean(0), tree) for tree in (us, rs)]
    for name in MODULES:
        expected = cosine(mean[0][name], mean[1][name])
        np.testing.assert_allclose(found.mean_cosine[name], [expected] * 2, rtol=1e-4)


def test_a_zero_gradient_has_cosine_zero_and_does_not_conflict():
    u, r = pairs(1)[0]
    state, _ = run(layer_conflicts(), [(u, jax.tree.map(jnp.zeros_like, r))])
    assert not any(state.conflicts.values())
    assert not any(state.mean_cosine.values())


def test_a_chain_still_shows_one_cosine_of_the_projection():
    u, r = pairs(1)[0]
    chain = optax.chain(layer_conflicts(), project_conflicting())
    _, state = chain.update(u, chain.init(u), retain_grads=r)
    np.testing.assert_allclose(optax.tree.get(state, "cosine"), cosine(u, r), rtol=1e-5)
    metrics = conflict_metrics(state)
    assert set(metrics) == {"cosine", "cosine of encoder", "cosine of decoder"}
    expected = cosine(u["encoder"], r["encoder"])
    np.testing.assert_allclose(metrics["cosine of encoder"], expected, rtol=1e-5)


def test_scores_rank_by_count_and_then_by_mean_cosine():
    u = {"a": jnp.float32([1, 0]), "b": jnp.float32([1, 0]), "c": jnp.float32([1, 0])}
    r = {"a": jnp.float32([-1, 3]), "b": jnp.float32([-3, 1]), "c": jnp.float32([1, 0])}
    state, _ = run(layer_conflicts("leaf"), [(u, r)] * 2)
    assert sorted(state.scores, key=state.scores.get, reverse=True) == ["b", "a", "c"]
    assert [int(score) for score in state.scores.values()] == [2, 2, 0]


def test_metrics_have_no_slash_which_a_checkpoint_takes_for_a_branch():
    state = layer_conflicts("leaf").init(random_tree(0))
    assert "decoder/kernel" in state.conflicts
    assert "cosine of decoder.kernel" in conflict_metrics(state)


def test_updates_of_other_layers_than_those_of_init_are_refused():
    u = random_tree(0)
    state = layer_conflicts().init({"encoder": u["encoder"]})
    with pytest.raises(ValueError, match=r"'decoder', 'encoder'.*init got \['encoder'\]"):
        layer_conflicts().update(u, state, retain_grads=u)


def test_a_word_that_names_no_layers_is_refused_at_construction():
    with pytest.raises(ValueError, match=r"labels.*got 'modul'.*'module'"):
        layer_conflicts("modul")


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_conflict_labels_give_the_k_layers_an_inner_product_of_their_own(k):
    scores = {"decoder/kernel": 1, "encoder/bias": 5, "encoder/kernel": 3, "encoder/scale": 0}
    u, r = random_tree(0), random_tree(1)
    scope = conflict_labels(scores, k, layer_labels(u, "leaf"))
    projected = project(u, r, scope=scope)
    alone = [("encoder", "bias"), ("encoder", "kernel"), ("decoder", "kernel")][:k]
    rest = [x for x in [*alone, ("encoder", "scale"), ("encoder", "kernel")] if x not in alone]
    rest += [x for x in [("decoder", "kernel"), ("encoder", "bias")] if x not in alone]
    for group in [*([leaf] for leaf in alone), [*dict.fromkeys(rest)]]:
        a, b, p = ([tree[m][n] for m, n in group] for tree in (u, r, projected))
        expected = vector(a) - (vector(a) @ vector(b)) / (vector(b) @ vector(b)) * vector(b)
        np.testing.assert_allclose(vector(p), expected, rtol=1e-4, atol=1e-6)


def test_no_private_layer_is_the_global_scope_and_all_of_them_the_scope_of_layers():
    u, r = random_tree(0), random_tree(1)
    scores = {"encoder": 1.0, "decoder": 2.0}
    assert_trees_equal(project(u, r, scope=conflict_labels(scores, 0)), project(u, r))
    each = project(u, r, scope={"encoder": 0, "decoder": 1})
    assert_trees_equal(project(u, r, scope=conflict_labels(scores, 2)), each)


def test_the_scores_of_a_state_are_scores():
    steps = pairs()
    state, _ = run(layer_conflicts(), steps)
    first = max(MODULES, key=lambda name: (state.conflicts[name], -state.mean_cosine[name]))
    other = next(name for name in MODULES if name != first)
    assert conflict_labels(state.scores, 1) == {first: first, other: "rest"}


def test_the_arrays_of_one_parent_are_a_module():
    params = {"a": {"kernel": 1.0, "bias": 2.0}, "b": [{"kernel": 3.0}, {"kernel": 4.0}]}
    labels = layer_labels(params)
    assert labels["a"] == {"kernel": "a", "bias": "a"}
    assert [node["kernel"] for node in labels["b"]] == ["b/0", "b/1"]


def test_the_variables_of_a_layer_of_nnx_are_a_module():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        model = nnx.Sequential(*(nnx.Linear(2, 2, rngs=nnx.Rngs(0)) for _ in range(2)))
        _, params, _ = nnx.split(model, nnx.Param, ...)
        counter = layer_conflicts()
        _, state = counter.update(params, counter.init(params), retain_grads=params)
        assert list(state.conflicts) == ["layers/0", "layers/1"]
        scope = conflict_labels(state.scores, 1, layer_labels(params))
        projected = project(params, params, scope=scope)
    assert abs(vector(projected)).max() < 1e-6


def test_a_prefix_of_a_tree_labels_its_branches():
    u, r = pairs(1)[0]
    by_prefix, by_module = (
        run(layer_conflicts(labels), [(u, r)])[0]
        for labels in ({"encoder": "encoder", "decoder": "decoder"}, "module")
    )
    assert_trees_equal(by_prefix, by_module)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": "modules"}, ValueError, r"labels.*got 'modules'.*'module'"),
        ({"labels": {"encoder": "e"}}, ValueError, "labels"),
        ({"labels": {"encoder": 0, "decoder": 1}}, TypeError, r"labels.*got 1.*decoder/kernel"),
        ({"labels": lambda path: None}, TypeError, r"labels.*got None.*decoder/kernel"),
        ({"incoming": "updates"}, ValueError, r"incoming.*got 'updates'"),
        ({"threshold": -2.0}, ValueError, r"threshold.*got -2.0"),
        ({"threshold": 1.5}, ValueError, r"threshold.*got 1.5"),
    ],
)
def test_options_are_checked_before_the_first_step(options, error, message):
    with pytest.raises(error, match=message):
        layer_conflicts(**options).init(random_tree(0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0, 2.0], 1), TypeError, r"scores.*list"),
        (({"a": 1.0}, 2), ValueError, r"k .*got 2"),
        (({"a": 1.0}, -1), ValueError, r"k .*got -1"),
        (({"a": 1.0}, 1.0), TypeError, r"k .*got 1.0"),
        (({"a": np.nan}, 1), ValueError, r"scores.*nan.*'a'"),
        (({"rest": 1.0}, 1), ValueError, r"shared.*got 'rest'"),
        (({"a": 1.0}, 1, {"x": "a", "y": "b"}), ValueError, r"labels.*'b'"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        conflict_labels(*arguments)


def test_scores_inside_a_compiled_function_are_refused():
    with pytest.raises(ValueError, match=r"scores.*'a'.*outside jit"):
        jax.jit(lambda score: conflict_labels({"a": score}, 1))(1.0)
