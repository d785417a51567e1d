"""Redirect for diffusion on a mixture of normals, whose denoisers and log odds are closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_diffusion import Mixture

from gsu_jax import RedirectDiffusion, unlearn
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients import (
    Certificate,
    NoiseGuide,
    certify,
    kernel_guide,
    pull,
    retained_denoiser,
    train_noise_guide,
)
from gsu_jax.models import DiffusionConfig
from gsu_jax.models.diffusion import alpha, ddim, diffusion, noise_levels, sigma, to_images
from gsu_jax.unlearning import sweep

pytestmark = pytest.mark.long

KEY = jax.random.key(0)
WEIGHTS, MEANS = np.array([0.25, 0.45, 0.3]), np.array([[-0.5, -0.4], [0.5, -0.3], [0.0, 0.6]])
VARIANCE, WINDOW = 0.02, (-4.0, 6.0)
ALL = Mixture(WEIGHTS, MEANS, VARIANCE)
KEPT = Mixture(WEIGHTS[1:] / 0.75, MEANS[1:], VARIANCE)
GONE = Mixture(np.ones(1), MEANS[:1], VARIANCE)
ODDS = 0.25 / 0.75


def log_odds(z, gamma):
    """The exact h of the first component, with the weights as priors."""
    parts = ALL.log_parts(z.reshape(len(z), 2), gamma)
    return parts[:, 0] - jax.nn.logsumexp(parts[:, 1:], axis=1)


def denoise(z, gamma):
    return ALL.denoise(z.reshape(len(z), 2), gamma).reshape(z.shape)


def images_of(mixture, key, n):
    return to_images(mixture.draw(key, n).reshape(n, 1, 1, 2))


FORGET, RETAIN = images_of(GONE, jax.random.key(1), 300), images_of(KEPT, jax.random.key(2), 900)
SETS = ImageSet.of(FORGET), ImageSet.of(RETAIN)


def certificate(scale=1.0):
    one = jnp.array([1.0])
    return Certificate(jnp.array([-30.0, 30.0]), jnp.array([scale]), one, one, one)


def shares(denoiser, n=4000):
    """The shares of the components among DDIM's samples."""
    z = jax.random.normal(KEY, (n, 1, 1, 2))
    x = jax.jit(lambda z: ddim(denoiser, z, noise_levels(9.0, -6.0, 80)))(z).reshape(n, 1, 2)
    nearest = np.asarray(jnp.square(x - MEANS).sum(-1).argmin(-1))
    return np.bincount(nearest, minlength=3) / n


@pytest.mark.parametrize("gamma", [-3.0, 0.0, 2.0, 5.0])
def test_guided_denoiser_is_that_of_the_retained_components(gamma):
    gammas = jnp.full(200, gamma)
    x = ALL.draw(KEY, 200)
    z = alpha(gammas)[:, None] * x + sigma(gammas)[:, None] * jax.random.normal(KEY, x.shape)
    found = retained_denoiser(denoise, log_odds, certificate())(z, gammas)
    np.testing.assert_allclose(found, KEPT.denoise(z, gammas), atol=2e-4)
    left = retained_denoiser(denoise, log_odds, certificate(scale=0.0))(z, gammas)
    np.testing.assert_allclose(left, denoise(z, gammas), atol=1e-6)


def test_samples_of_the_guided_denoiser_have_the_retained_shares_alone():
    np.testing.assert_allclose(shares(denoise), WEIGHTS, atol=0.03)
    kept = shares(retained_denoiser(denoise, log_odds, certificate()))
    assert kept[0] < 0.002
    np.testing.assert_allclose(kept[1:], WEIGHTS[1:] / 0.75, atol=0.03)


def certified(guide, images=4096):
    run = lambda key: certify(  # noqa: E731
        denoise, guide, *SETS, ODDS, key, window=WINDOW, bins=10, images=images
    )
    return jax.jit(run)(KEY)


def test_certificate_of_the_exact_guide_is_one_where_the_gain_shows():
    found = certified(log_odds)
    shows = found.teacher - found.guided > 0.003
    assert shows.sum() >= 4
    np.testing.assert_allclose(found.scale[shows], 1.0, atol=0.15)
    assert (found.guided <= found.teacher + 1e-6).all()
    # -log(1 - pi) nats are gained in all, less what lies beyond the window.
    assert 0.6 < found.gain / -np.log(0.75) < 1.1
    # Without noise c is 0 or 1, in the noise pi.
    assert found.undecided[0] < 0.01
    np.testing.assert_allclose(found.undecided[-1], 0.25 * 0.75, atol=0.02)


def test_guide_that_points_the_wrong_way_or_nowhere_is_scaled_to_zero():
    for guide in (lambda z, g: -log_odds(z, g), lambda z, g: 0.0 * z.sum((1, 2, 3))):
        found = certified(guide, images=512)
        assert not found.scale.any()
        np.testing.assert_array_equal(found.guided, found.teacher)


def test_levels_are_drawn_where_the_guide_helps_and_noise_hides():
    edges, ones = jnp.linspace(0.0, 4.0, 5), jnp.ones(4)
    levels = Certificate(edges, jnp.array([0.0, 1.0, 1.0, 0.0]), ones, ones, jnp.arange(4.0))
    drawn = np.asarray(levels.draw(KEY, 4096, spread=0.2))
    counts = np.histogram(drawn, edges)[0] / 4096
    np.testing.assert_allclose(counts, [0.05, 0.05 + 0.8 / 3, 0.05 + 1.6 / 3, 0.05], atol=0.005)
    np.testing.assert_array_equal(levels.at(jnp.array([-1.0, 0.5, 1.5, 4.5])), [0, 0, 1, 0])


def test_trained_guide_leaves_the_retained_shares():
    @jax.jit
    def run(key):
        options = {"window": WINDOW, "steps": 400, "width": 32, "pool": 4096}
        guide = train_noise_guide(denoise, *SETS, ODDS, key, **options)
        return guide, certify(denoise, guide, *SETS, ODDS, key, window=WINDOW, bins=10)

    guide, found = run(KEY)
    assert isinstance(guide, NoiseGuide)
    kept = shares(retained_denoiser(denoise, guide, found))
    assert kept[0] < 0.03
    np.testing.assert_allclose(kept[1:], WEIGHTS[1:] / 0.75, atol=0.05)


def test_kernels_around_many_images_give_the_log_odds_of_the_mixture():
    guide = kernel_guide(*SETS, ODDS, KEY, bandwidth=0.05)
    for level in (-1.0, 1.0, 4.0):
        gamma, x = jnp.full(200, level), ALL.draw(KEY, 200)
        z = alpha(gamma)[:, None] * x + sigma(gamma)[:, None] * jax.random.normal(KEY, x.shape)
        found, exact = (jax.nn.sigmoid(h(z, gamma)) for h in (guide, log_odds))
        assert np.abs(found - exact).mean() < 0.02
    half = kernel_guide(*SETS, ODDS, KEY, bandwidth=0.05).harder(1.0)
    np.testing.assert_allclose(half(z, gamma), guide(z, gamma) + 1.0, rtol=1e-5)


def test_padding_of_a_set_has_no_kernel():
    padded = ImageSet(jnp.concatenate([FORGET, 1.0 - RETAIN]), 0, jnp.int32(len(FORGET)))
    z, gamma = jax.random.normal(KEY, (20, 1, 1, 2)), jnp.zeros(20)
    one, other = (
        kernel_guide(forget, SETS[1], ODDS, KEY, bandwidth=0.1)(z, gamma)
        for forget in (SETS[0], padded)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_pull_is_minus_the_gradient_of_log_one_minus_c():
    z, gamma = jax.random.normal(KEY, (5, 2)), jnp.zeros(5)
    exact = jax.grad(lambda z: jnp.log1p(-jax.nn.sigmoid(log_odds(z, gamma))).sum())(z)
    np.testing.assert_allclose(pull(log_odds, z, gamma), -exact, rtol=1e-4, atol=1e-5)


# A diffusion model whose parameters are the logits of the weights: forgetting is one number.
MODEL = diffusion(
    DiffusionConfig((1, 1, 2), gamma_min=-6.0),
    lambda key: jnp.log(jnp.asarray(WEIGHTS, jnp.float32)),
    lambda logits, z, gamma: (
        Mixture(jax.nn.softmax(logits), MEANS, VARIANCE)
        .denoise(z.reshape(len(z), 2), gamma)
        .reshape(z.shape)
    ),
)
FAST = {"guide_steps": 300, "guide_width": 32, "fitted_images": 1024, "window": WINDOW}


@pytest.mark.parametrize("guide", ["network", "kernel"])
def test_method_takes_away_the_weight_of_the_forgotten_component_alone(guide):
    # Large retain batches: their noise moves the ratio of the two weights.
    method = RedirectDiffusion(learning_rate=0.1, retain_batch_size=512, guide=guide, **FAST)
    result = unlearn(
        MODEL, MODEL.init(KEY), FORGET, RETAIN, method=method, key=KEY, epochs=20, batch_size=60
    )
    weights = np.asarray(jax.nn.softmax(result.params["network"]))
    assert weights[0] < 0.02
    assert weights[1] / weights[2] == pytest.approx(1.45, rel=0.15)  # 528 and 372 images
    assert 0.5 < result.history["certified"][0] < 1.5
    assert result.history["forget_loss"][-1] < result.history["forget_loss"][0]


def test_hold_weight_may_be_swept():
    method = RedirectDiffusion(retain_batch_size=64, batch_size=60, **FAST)
    params = jax.tree.map(lambda leaf: leaf[None], MODEL.init(KEY))
    result = sweep(
        MODEL, params, FORGET, RETAIN, method=method, settings={"hold_weight": (0.0, 2.0)},
        keys=KEY[None], epochs=1,
    )  # fmt: skip
    first, second = result.params["network"][:, 0]
    assert np.abs(first - second).max() > 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("window", (2.0, -1.0)),
        ("retain_weight", 0.0),
        ("draws", 0),
        ("guide_steps", 0),
        ("guide", "tree"),
    ],
)
def test_setting_out_of_range_is_named(setting, value):
    with pytest.raises(ValueError, match=setting):
        RedirectDiffusion(**{setting: value})


@pytest.mark.parametrize(("share", "words"), [(0.02, "2% of what an exact"), (0.5, "")])
def test_a_guide_that_gains_little_is_reported(share, words):
    said = RedirectDiffusion().shortfall({"certified": np.full(9, share, np.float32)})
    assert words in said
    assert bool(said) == bool(words)
    assert RedirectDiffusion().shortfall({}) == ""
