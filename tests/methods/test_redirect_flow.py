"""Redirect along the heat flow: its map against closed forms, and where its gradients go."""

from dataclasses import replace

import gaussian_vae
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax import RedirectFlow, unlearn
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients import _rehearsal, heat_flow, retrained_gap, train_latent_guide
from gsu_jax.models import Posteriors, elbo_terms, gaussian_log_likelihood

MODEL = gaussian_vae.MODEL
FORGET, RETAIN = images(2, 10, offset=0.3), images(3, 90)
SMALL = RedirectFlow(drawn=16, described_gap=2.0, effort="fast")


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


@pytest.fixture(scope="module")
def prepared(params):
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    return jax.jit(lambda params: SMALL.prepare(MODEL, params, *sets, KEY))(params)


def affine_guide(slope, offset):
    """Log odds that grow along the first axis and fade with the time."""

    def guide(z, t):
        return slope * jnp.exp(-t) * z[..., 0] + offset

    return guide


@pytest.mark.parametrize("offset", [-2.0, 0.0])
def test_the_heat_flow_carries_a_mixture_to_its_retained_half(offset):
    """Of pi N(m, s^2) + (1 - pi) N(-m, s^2) with variance 1 in all, the map leaves the second."""
    m, share = 0.8, 1 / (1 + np.exp(-offset))
    variance = 1 - 4 * share * (1 - share) * m**2  # so that the mixture has variance 1

    def guide(z, t):  # both halves stay Gaussian: means m e^-t, variance 1 - e^-2t (1 - variance)
        spread = 1 - jnp.exp(-2 * t) * (1 - variance)
        shrunk = 2 * m * jnp.exp(-t) / spread
        return shrunk * z[..., 0] + offset

    rng = np.random.default_rng(0)
    forgotten = rng.random(20_000) < share
    z = np.where(forgotten, m, -m) + np.sqrt(variance) * rng.standard_normal(20_000)
    z = np.stack([z, rng.standard_normal(20_000)], axis=1).astype(np.float32)
    moved = np.asarray(heat_flow(guide, jnp.asarray(z), steps=64))
    np.testing.assert_allclose(moved[:, 0].mean(), -m, atol=0.06)
    np.testing.assert_allclose(moved[:, 0].var(), variance, atol=0.08)
    np.testing.assert_array_equal(moved[:, 1], z[:, 1])  # the guide does not see this axis


def test_a_harder_guide_moves_latents_further():
    z = jax.random.normal(jax.random.key(0), (512, 2))
    lengths = [
        float(jnp.abs(heat_flow(affine_guide(2.0, offset), z) - z).mean()) for offset in (-3, 0, 3)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < 0.5 * lengths[2]


@pytest.mark.long
def test_the_guide_learns_the_log_odds_and_the_prior_of_the_data():
    """Latents N(+-1, 1) in one of three axes: h_0(z) = 2 z + log odds."""
    zeros = jnp.zeros((4096, 3))
    forget = Posteriors(zeros.at[:, 0].set(1.0), zeros)
    retain = Posteriors(zeros.at[:, 0].set(-1.0), zeros)
    guide = train_latent_guide(forget, retain, 0.1, KEY, steps=400)
    z = jnp.zeros((3, 3)).at[:, 0].set(jnp.array([-1.0, 0.0, 1.0]))
    expected = 2 * z[:, 0] + np.log(0.1)
    np.testing.assert_allclose(guide(z, jnp.zeros(())), expected, atol=0.4)
    far = guide(z, jnp.full((), 3.0)) - np.log(0.1)
    assert float(jnp.abs(far).max()) < 0.5  # noise has hidden which set a latent is of


@pytest.mark.long
def test_a_margin_is_added_to_the_log_odds():
    zeros = jnp.zeros((64, 3))
    guide = train_latent_guide(Posteriors(zeros + 1, zeros), Posteriors(zeros, zeros), 1.0, KEY)
    z, now = jnp.ones((2, 3)), jnp.zeros(())
    np.testing.assert_allclose(guide.harder(1.5)(z, now), guide(z, now) + 1.5, rtol=1e-5)


def test_latents_that_move_are_drawn_more_often(prepared):
    probabilities = np.diff(np.asarray(prepared.cumulative), prepend=0.0)
    distances = np.linalg.norm(np.asarray(prepared.moved - prepared.z), axis=1)
    assert np.corrcoef(probabilities, distances)[0, 1] > 0.99
    np.testing.assert_allclose(prepared.cumulative[-1], 1.0, rtol=1e-5)


@pytest.mark.long
def test_what_is_described_gets_no_gradient_from_padding(params, prepared):
    def updates(mask):
        batch = batch_of(FORGET, RETAIN[:8])
        visited = batch.visited._replace(mask=jnp.asarray(mask, jnp.float32))
        return SMALL.gradients(MODEL, prepared, params, batch._replace(visited=visited), KEY)

    kept = [1.0] * 6 + [0.0] * 4
    darker = FORGET.copy()
    darker[6:] = 0.0
    batch = batch_of(darker, RETAIN[:8])
    visited = batch.visited._replace(mask=jnp.asarray(kept, jnp.float32))
    other = SMALL.gradients(MODEL, prepared, params, batch._replace(visited=visited), KEY)
    assert_trees_close(updates(kept).updates, other.updates, rtol=1e-5)


@pytest.mark.long
def test_without_the_described_terms_the_encoder_gets_no_gradient(params, prepared):
    drawn_alone = RedirectFlow(drawn=16, described_weight=0.0, effort="fast")
    step = drawn_alone.gradients(MODEL, prepared, params, batch_of(FORGET, RETAIN[:8]), KEY)
    np.testing.assert_array_equal(vector(step.updates["encoder"]), 0.0)
    assert np.abs(vector(step.updates["decoder"])).max() > 0.0
    both = SMALL.gradients(MODEL, prepared, params, batch_of(FORGET, RETAIN[:8]), KEY)
    assert np.abs(vector(both.updates["encoder"])).max() > 0.0


@pytest.mark.long
def test_a_trained_decoder_that_draws_along_the_flow_has_nothing_left_to_learn(params, prepared):
    """Where T is the identity, the loss at the trained parameters is at its minimum."""
    still = prepared._replace(moved=prepared.z)
    alone = RedirectFlow(drawn=16, described_weight=0.0, effort="fast")
    step = alone.gradients(MODEL, still, params, batch_of(FORGET, RETAIN[:8]), KEY)
    assert np.abs(vector(step.updates)).max() < 1e-4


def described_alone(params, prepared):
    """The gradient of the second term: that of the whole loss without that of the first."""
    steps = (
        method.gradients(MODEL, prepared, params, batch_of(FORGET, RETAIN[:8]), KEY)
        for method in (SMALL, RedirectFlow(drawn=16, described_weight=0.0, effort="fast"))
    )
    both, drawn = (vector(step.updates["decoder"]) for step in steps)
    return both - drawn


def ascent(params):
    """The gradient of w mean log p(x | Dec(mean of q(z|x))) in the decoder, x forgotten."""

    def log_likelihood(decoder):
        mean, _ = MODEL.encode(params, FORGET)
        decoded = MODEL.decode({**params, "decoder": decoder}, mean)
        return SMALL.described_weight * MODEL.log_likelihood(decoded, FORGET).mean()

    return vector(jax.grad(log_likelihood)(params["decoder"]))


@pytest.mark.long
def test_the_trained_model_takes_a_full_step_of_ascent(params, prepared):
    """There rho = 1."""
    found = described_alone(params, prepared)
    np.testing.assert_allclose(found, ascent(params), rtol=1e-3, atol=1e-4)


def test_a_model_that_describes_worse_than_a_retrained_one_is_pulled_back(params, prepared):
    brighter = {**params["decoder"], "bias": params["decoder"]["bias"] + 5.0}
    worse = {**params, "decoder": brighter}
    found = described_alone(worse, prepared)
    np.testing.assert_allclose(found, -ascent(worse), rtol=1e-3, atol=1e-3)


def test_a_model_at_the_gap_takes_no_step(params, prepared):
    """The gap is the loss that the changed decoder adds: rho = 0."""
    brighter = {**params["decoder"], "bias": params["decoder"]["bias"] + 5.0}
    worse = {**params, "decoder": brighter}
    losses = [float(MODEL.loss(p, jnp.asarray(FORGET), KEY)) for p in (params, worse)]
    at_gap = prepared._replace(gap=jnp.asarray(losses[1] - losses[0]))
    scale = np.abs(ascent(worse)).max()
    np.testing.assert_allclose(described_alone(worse, at_gap) / scale, 0.0, atol=1e-2)


@pytest.mark.long
def test_a_rehearsal_finds_the_gap_of_images_that_only_the_trained_model_knows(params):
    """Retained images are gray, forgotten ones have a bright first pixel: 1/2 off is 12.5 nats."""

    def loss(params, images, key):
        terms = elbo_terms(sharp, params, images, key)
        return (terms.reconstruction + terms.kl).mean()

    def log_likelihood(decoded, images):
        return gaussian_log_likelihood(decoded, images, 0.01)

    sharp = replace(MODEL, loss=loss, log_likelihood=log_likelihood)
    rng = np.random.default_rng(0)
    gray = rng.uniform(0.3, 0.7, (256, *FORGET.shape[1:])).astype(np.float32)
    bright = gray.copy()
    bright[:, 0, 0] = 1.0
    kernel = jnp.zeros((3, 4)).at[0, 0].set(0.5)  # z_0 = 1 draws the bright pixel
    trained = {**params, "decoder": {"kernel": kernel, "bias": jnp.full(4, 0.5)}}

    def gap(forget):
        sets = ImageSet.of(forget), ImageSet.of(gray)
        return float(retrained_gap(sharp, trained, *sets, KEY, steps=300, learning_rate=1e-2))

    assert gap(gray[:64]) < 0.3  # both models know these
    assert gap(bright) > 1.0  # less than 12.5, since the fresh model has latents for it too


@pytest.mark.long
def test_the_gap_is_extrapolated_from_half_of_the_rehearsal_and_the_whole(params, monkeypatch):
    """2 g_n - g_{n/2}, each of which is the estimate of a rehearsal that stands still."""
    dark, darker = (jax.tree.map(lambda x, s=s: s * x, params) for s in (0.3, 0.2))

    def gap(half, whole):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), half, whole)
        monkeypatch.setattr(_rehearsal, "_train", lambda *args: stacked)
        sets = ImageSet.of(FORGET + 1.0), ImageSet.of(RETAIN)
        return float(retrained_gap(MODEL, params, *sets, KEY))

    half, whole = gap(dark, dark), gap(darker, darker)
    assert half > 0.0
    assert whole > half
    np.testing.assert_allclose(gap(dark, darker), 2 * whole - half, rtol=1e-4)


@pytest.mark.long
def test_a_rehearsal_that_diverges_claims_no_gap(params):
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    assert float(retrained_gap(MODEL, params, *sets, KEY, steps=3, learning_rate=1e30)) == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"described_weight": -1.0}, "described_weight.*-1"),
        ({"drawn": 0}, "drawn.*0"),
        ({"effort": "half"}, "effort.*'half'"),
        ({"described_gap": 0.0}, "described_gap.*0"),
        ({"when": "allways"}, "when.*'always'"),
    ],
)
def test_settings_outside_their_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        RedirectFlow(**settings)


@pytest.mark.long
def test_one_image_can_be_forgotten(params):
    result = unlearn(MODEL, params, FORGET[:1], RETAIN, method=SMALL, key=KEY, epochs=12)
    assert result.steps == 12
    assert all(np.isfinite(x).all() for x in result.history.values())


@pytest.mark.long
def test_a_run_that_ends_far_from_a_large_gap_says_so(params, caplog):
    method = replace(SMALL, described_gap=1e4)
    result = unlearn(MODEL, params, FORGET, RETAIN, method=method, key=KEY, batch_size=2)
    assert "redirect_flow" in caplog.text
    assert "is left" in caplog.text
    assert result.history["rho"].shape == (5,)
    np.testing.assert_array_equal(result.history["described_gap"], np.float32(1e4))


@pytest.mark.parametrize(
    ("gap", "rho", "words"),
    [(20.0, 0.9, "90% of the gap"), (0.0, 0.0, "no gap"), (20.0, 0.4, ""), (20.0, -0.4, "")],
)
def test_the_end_of_rho_decides_whether_a_run_says_that_images_are_still_described(gap, rho, words):
    start = np.ones(90, np.float32)
    history = {
        "rho": np.concatenate([start, np.full(10, rho, np.float32)]),
        "described_gap": np.full(100, gap, np.float32),
    }
    said = SMALL.shortfall(history)
    assert words in said
    assert bool(said) == bool(words)
    assert SMALL.shortfall({}) == ""
