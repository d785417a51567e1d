"""The rules that combine two gradients: against their formulas in float64, and in chains."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from gsu_jax import cagrad, gru, pcgrad, project_retain, projected_adam
from gsu_jax.surgery import measure_conflict
from gsu_jax.surgery.rules import conflict_averse, project_both, project_in_metric

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**31)
exponents = st.integers(-15, 15)
SHAPES = {"decoder": (2, 3), "encoder": {"b": (5,), "w": ()}}
AGAINST, AWAY, RETAIN = jnp.array([-1.0, 1.0]), jnp.array([1.0, 1.0]), jnp.array([2.0, 0.0])


def tree(seed, scale=1.0, dtype=jnp.float32, k=None):
    rng, lead = np.random.default_rng(seed), () if k is None else (k,)
    return jax.tree.map(
        lambda shape: jnp.asarray(scale * rng.standard_normal((*lead, *shape)), dtype),
        SHAPES,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def vector(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def without(u, r, when="always"):
    return u if when == "conflict" and u @ r >= 0 else u - (u @ r) / (r @ r) * r


def close(found, expected, tolerance=2e-6):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found) / scale, expected / scale, atol=tolerance)


both, averse, in_metric = map(jax.jit, (project_both, conflict_averse, project_in_metric))
update_of_s = jax.jit(partial(project_retain().update, state=None))


# PCGrad


def test_pcgrad_projects_each_off_the_other_where_they_conflict():
    np.testing.assert_allclose(both(AGAINST, RETAIN), [0.0 + 1.0, 1.0 + 1.0], rtol=1e-6)
    np.testing.assert_allclose(both(AWAY, RETAIN), AWAY + RETAIN)


@few
@given(seeds, exponents, exponents)
def test_pcgrad_is_its_formula_at_all_scales(seed, e, f):
    u, r = tree(seed, 10.0**e), tree(seed + 1, 10.0**f)
    a, b = vector(u), vector(r)
    close(vector(both(u, r)), without(a, b, "conflict") + without(b, a, "conflict"))


# CAGrad


def dual(u, r, c, w):
    """An upper bound of min(<u, d>, <r, d>) for every d within c |g| of the mean g."""
    g, m = (u + r) / 2, w * u + (1 - w) * r
    return m @ g + c * np.linalg.norm(g) * np.linalg.norm(m)


def test_cagrad_makes_the_worse_of_two_inner_products_as_large_as_it_can():
    # The mean of (-1, 1) and (1, 0) is (0, 0.5): products 0.5 and 0. Within 0.25 of it the second
    # is largest at (0.25, 0.5), and no smaller than the first, 0.25.
    np.testing.assert_allclose(averse(AGAINST, RETAIN / 2), [0.25, 0.5], atol=1e-6)


@few
@given(seeds, st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([0, 1, 3]))
def test_cagrad_reaches_the_bound_of_its_dual(seed, c, gap):
    """No d can do better than the least bound over w: so what reaches it is the best."""
    u, r = tree(seed, 10.0**gap), tree(seed + 1)
    a, b = vector(u), vector(r)
    d, mean = vector(averse(u, r, c)), (a + b) / 2
    assert np.linalg.norm(d - mean) <= c * np.linalg.norm(mean) * (1 + 1e-5)
    bounds = [dual(a, b, c, w) for w in np.linspace(0, 1, 2001)]
    reached = min(a @ d, b @ d)
    scale = np.linalg.norm(mean) * min(np.linalg.norm(a), np.linalg.norm(b))
    assert reached >= min(bounds) - 2e-5 * scale


@few
@given(seeds, exponents)
def test_cagrad_scales_with_its_gradients(seed, e):
    d = vector(averse(tree(seed, 10.0**e), tree(seed + 1, 10.0**e)))
    close(d, 10.0**e * vector(averse(tree(seed), tree(seed + 1))), 1e-5)


@pytest.mark.parametrize("e", [-15, 0, 15])
def test_cagrad_of_gradients_thirty_orders_apart_is_the_mean_and_a_step_along_the_smaller(e):
    u, r = tree(0, 10.0**e), tree(1, 10.0**-e)
    a, b = vector(u), vector(r)
    d, small = vector(averse(u, r)), min(a, b, key=np.linalg.norm)
    if e:
        mean = (a + b) / 2
        close(d, mean + 0.5 * np.linalg.norm(mean) * small / np.linalg.norm(small))


@pytest.mark.parametrize(
    ("u", "r", "expected"),
    [
        ([1.0, 1.0], [1.0, 1.0], [1.5, 1.5]),
        ([1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]),
        ([3.0, 0.0], [-1.0, 0.0], [0.5, 0.0]),
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
        ([2.0, 0.0], [0.0, 0.0], [1.0, 0.0]),
        ([0.0, 0.0], [0.0, 2.0], [0.0, 1.0]),
    ],
    ids=["equal", "opposite", "opposed", "both zero", "no retain", "no update"],
)
def test_cagrad_where_the_dual_is_degenerate(u, r, expected):
    np.testing.assert_allclose(averse(jnp.array(u), jnp.array(r)), expected, atol=1e-6)


# S and GRU


def one_update(transform, updates, retain_grads):
    """The updates and the state after one step, compiled."""
    return jax.jit(transform.update)(updates, transform.init(updates), retain_grads=retain_grads)


def test_s_descends_the_retained_loss_along_what_the_update_does_not_reach():
    updates, state = update_of_s(AGAINST, retain_grads=RETAIN)
    np.testing.assert_allclose(updates, [1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(update_of_s(-AGAINST, retain_grads=RETAIN)[0], [1.0, 1.0])
    np.testing.assert_allclose(state.cosine, -np.sqrt(0.5), rtol=1e-6)


@few
@given(seeds, exponents, exponents)
def test_s_is_its_formula_at_all_scales(seed, e, f):
    u, r = tree(seed, 10.0**e), tree(seed + 1, 10.0**f)
    close(vector(update_of_s(u, retain_grads=r)[0]), without(vector(r), vector(u)))


def test_gru_projects_off_the_running_mean_of_the_retain_gradients():
    transform = gru(decay=0.75)
    us, rs = [tree(i) for i in range(6)], [tree(10 + i) for i in range(6)]
    state, mean, update = transform.init(us[0]), 0.0, jax.jit(transform.update)
    projected = []
    for count, (u, r) in enumerate(zip(us, rs, strict=True), 1):
        found, state = update(u, state, retain_grads=r)
        mean = 0.75 * mean + 0.25 * vector(r)
        close(vector(found), without(vector(u), mean, "conflict"))
        np.testing.assert_allclose(
            state.conflict.retain_norm, np.linalg.norm(mean) / (1 - 0.75**count), rtol=1e-5
        )
        projected.append(bool(state.conflict.projected))
    assert len(set(projected)) == 2


def test_gru_without_memory_is_the_conflict_rule():
    u, r = tree(0), tree(12)
    assert vector(u) @ vector(r) < 0
    close(vector(one_update(gru(0.0), u, r)[0]), without(vector(u), vector(r)))


# The optimiser's metric


@few
@given(seeds, exponents, exponents, st.integers(-8, 8))
def test_in_the_metric_nothing_is_left_along_r_and_no_vector_is_nearer(seed, e, f, g):
    s, r = tree(seed, 10.0**e), tree(seed + 1, 10.0**f)
    p = jax.tree.map(lambda x: 10.0**g * jnp.exp(2 * x), tree(seed + 2))
    x = vector(in_metric(s, r, p))
    s, r, p = vector(s), vector(r), vector(p)
    close(x, s - (r @ s) / (r @ (r / p)) * r / p)
    assert abs(x @ r) <= 1e-6 * np.linalg.norm(s) * np.linalg.norm(r)
    rng = np.random.default_rng(seed)
    for _ in range(10):  # others that keep the retained loss
        other = x + without(rng.standard_normal(len(s)) * np.linalg.norm(s), r)
        assert (x - s) @ (p * (x - s)) <= (other - s) @ (p * (other - s))


def adam_by_hand(grads, retain, rate, b1=0.9, b2=0.999, eps=1e-8, when="always"):
    """Adam's last step, projected in its metric, in float64."""
    m = v = 0.0
    for g in grads:
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    count = len(grads)
    p = np.sqrt(v / (1 - b2**count)) + eps
    s, w = m / (1 - b1**count) / p, retain / p
    return -rate * (
        s if when == "conflict" and s @ retain >= 0 else s - s @ retain / (retain @ w) * w
    )


@pytest.mark.parametrize("when", ["always", "conflict"])
def test_the_applied_step_of_projected_adam_keeps_the_retained_loss(when):
    us, rs = [tree(i) for i in range(5)], [tree(10 + i) for i in range(5)]
    optimizer = optax.chain(projected_adam(0.1, when=when), measure_conflict())
    state, update = optimizer.init(us[0]), jax.jit(optimizer.update)
    taken = []
    for count, (u, r) in enumerate(zip(us, rs, strict=True), 1):
        steps, state = update(u, state, retain_grads=r)
        expected = adam_by_hand([vector(u) for u in us[:count]], vector(r), 0.1, when=when)
        close(vector(steps), expected, 1e-5)
        taken.append(bool(optax.tree.get(state, "projected")))
        assert (abs(state[-1].cosine) < 1e-6) == taken[-1]
        assert state[-1].cosine < 1e-6
    assert set(taken) == ({True} if when == "always" else {True, False})


def test_a_set_of_retain_gradients_in_the_metric_harms_none_of_them():
    u, rs = tree(0), tree(1, k=3)
    step = vector(one_update(projected_adam(0.1, when="conflict"), u, rs)[0])
    rows = np.concatenate(
        [np.asarray(x, np.float64).reshape(3, -1) for x in jax.tree.leaves(rs)], axis=1
    )
    # Adam's first step is the sign; in coordinates sqrt(P) x the cone is SciPy's.
    u = vector(u)
    root = np.sqrt(np.abs(u))
    weights, _ = nnls((rows / root).T, -np.sign(u) * root)
    assert (weights > 0).any()
    close(step, -0.1 * (np.sign(u) + (rows / root**2).T @ weights), 1e-5)


# Every rule, in every place


RULES = {
    "pcgrad": pcgrad,
    "cagrad": cagrad,
    "gru": gru,
    "s": project_retain,
    "metric": partial(projected_adam, 0.1),
}
# optax's own correction of a mean that began at zero promotes its count.
PROMOTION = {gru: "standard", RULES["metric"]: "standard"}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


@each_rule
def test_a_retain_gradient_of_zero_projects_nothing(rule):
    u = tree(0)
    zero = jax.tree.map(jnp.zeros_like, u)
    expected = {cagrad: vector(u) / 2, project_retain: 0 * vector(u)}.get(rule, vector(u))
    if rule is RULES["metric"]:
        expected = vector(optax.adam(0.1).update(u, optax.adam(0.1).init(u))[0])
    transform = rule()
    update = jax.jit(transform.update)
    updates, state = update(u, transform.init(u), retain_grads=zero)
    np.testing.assert_allclose(vector(updates), expected, rtol=1e-5, atol=1e-7)
    assert not optax.tree.get(state, "projected")
    for still, r in ((zero, u), (zero, zero)):
        assert np.isfinite(vector(update(still, transform.init(u), retain_grads=r))).all()


@each_rule
def test_dtypes_are_stable_in_a_chain_under_scan_without_implicit_promotion(rule):
    dtype = "bfloat16"
    with (
        jax.numpy_dtype_promotion(PROMOTION.get(rule, "strict")),
        jax.numpy_rank_promotion("raise"),
    ):
        params, chain = tree(0, dtype=dtype), optax.chain(rule(), optax.sgd(0.1))

        def step(carry, pair):
            params, state = carry
            steps, state = chain.update(pair[0], state, params, retain_grads=pair[1])
            return (optax.apply_updates(params, steps), state), optax.tree.get(state, "cosine")

        pairs = tree(1, dtype=dtype, k=3), tree(2, dtype="float32", k=3)
        run = jax.jit(partial(jax.lax.scan, step))
        (moved, _), cosines = run((params, chain.init(params)), pairs)
        assert {x.dtype for x in jax.tree.leaves(moved)} == {jnp.dtype(dtype)}
    u, r = (vector(jax.tree.map(lambda x: x[2], pair)) for pair in pairs)
    if rule is not gru:
        expected = u @ r / np.linalg.norm(u) / np.linalg.norm(r)
        np.testing.assert_allclose(cosines[2], expected, atol=2e-3)
    assert np.abs(vector(moved) - vector(params)).max() > 1e-3


def test_a_set_counts_as_its_mean():
    u, rs = tree(0), tree(1, k=3)
    found = one_update(pcgrad(), u, rs)[0]
    close(vector(found), vector(both(u, jax.tree.map(lambda r: r.mean(0), rs))))


@each_rule
def test_a_mistake_is_named(rule):
    u, transform = tree(0), rule()
    state = transform.init(u)
    with pytest.raises(ValueError, match="needs the gradient of the retained loss"):
        transform.update(u, state)
    with pytest.raises(ValueError, match="retain_grads has no leaf decoder"):
        transform.update(u, state, retain_grads={"encoder": u["encoder"]})
    with pytest.raises(TypeError, match="retain_grads has a leaf decoder of dtype int32"):
        transform.update(u, state, retain_grads=jax.tree.map(lambda x: x.astype(int), u))


@pytest.mark.parametrize("rule", [pcgrad, gru, RULES["metric"]], ids=["pcgrad", "gru", "metric"])
def test_over_devices_both_gradients_are_averaged_first(rule):
    us, rs = tree(0, k=2), tree(1, k=2)
    transform = rule(axis_name="batch")
    state = transform.init(tree(0))
    found = jax.vmap(lambda u, r: transform.update(u, state, retain_grads=r)[0], axis_name="batch")(
        us, rs
    )
    mean = [jax.tree.map(lambda x: x.mean(0), t) for t in (us, rs)]
    for i in range(2):
        of_one = jax.tree.map(lambda x, i=i: x[i], found)
        close(vector(of_one), vector(one_update(rule(), *mean)[0]), 1e-5)


def test_options_are_checked_when_the_chain_is_built():
    with pytest.raises(ValueError, match=r"c must be in \[0, 1\), found 1.0"):
        cagrad(1.0)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), found -0.1"):
        gru(-0.1)
    with pytest.raises(ValueError, match="when must be"):
        projected_adam(0.1, when="never")
