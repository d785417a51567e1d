import gaussian_vae
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, vector
from linear_autoencoder import images
from method_steps import KEY, batch_of

from gsu_jax import RedirectSurgery, unlearn
from gsu_jax.data import ImageSet
from gsu_jax.methods.ingredients import find_neighbors, fit_transport
from gsu_jax.models import MLPVAEConfig, Posteriors
from gsu_jax.networks import mlp_vae
from gsu_jax.study import Recipe, start_training, train_epoch

MODEL = gaussian_vae.MODEL
FORGET, RETAIN = images(2, 10, offset=0.3), images(3, 90)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


@pytest.fixture(scope="module")
def prepared(params):
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    return jax.jit(lambda params: RedirectSurgery().prepare(MODEL, params, *sets, KEY))(params)


@pytest.fixture(scope="module")
def gradients_at(params, prepared):
    """Updates and retain gradient of one step, by one compiled program."""

    @jax.jit
    def gradients(at, hold_weight, scale, progress):
        batch = batch_of(FORGET, RETAIN[:8], progress=progress)
        given = prepared._replace(hold_weight=hold_weight, scale=scale)
        step = RedirectSurgery().gradients(MODEL, given, at, batch, KEY)
        return step.updates, step.retain_grads

    def at(at=params, hold_weight=0.0, scale=1.0, progress=0.0):
        return gradients(at, hold_weight, scale, progress)

    return at


@pytest.fixture(scope="module")
def by_encoder_weight(params, prepared):
    """The updates at three weights of the encoder's term."""

    @jax.jit
    def gradients(params):
        batch = batch_of(FORGET, RETAIN[:8])
        return [
            RedirectSurgery(encoder_weight=weight)
            .gradients(MODEL, prepared, params, batch, KEY)
            .updates
            for weight in (0.0, 1.0, 2.0)
        ]

    return gradients(params)


@pytest.mark.parametrize(("images", "seen"), [(128, 16), (9, 1), (2, 1), (1, 0)])
def test_a_batch_is_shared_between_both_terms(images, seen):
    assert RedirectSurgery().encoder_images(images) == seen
    assert RedirectSurgery(encoder_weight=0.0).encoder_images(images) == 0


def test_the_encoder_term_gives_the_decoder_no_gradient(by_encoder_weight):
    none, once, twice = by_encoder_weight
    np.testing.assert_array_equal(vector(none["encoder"]), 0.0)
    assert np.abs(vector(none["decoder"])).max() > 0.01
    assert_trees_close(twice["decoder"], once["decoder"], rtol=1e-5)
    np.testing.assert_allclose(vector(twice["encoder"]), 2 * vector(once["encoder"]), rtol=1e-5)
    assert np.abs(vector(once["encoder"])).max() > 0.01


def test_a_small_forget_set_starts_with_a_heavier_forget_gradient(gradients_at):
    plain = vector(gradients_at()[0])
    for progress, factor in ((0.0, 4.0), (0.5, 2.0), (1.0, 1.0)):
        found = vector(gradients_at(scale=0.25, progress=progress)[0])
        np.testing.assert_allclose(found, factor * plain, rtol=1e-4)


def test_the_retain_gradient_holds_what_neighbors_look_like(params, gradients_at):
    moved = jax.tree.map(lambda p: p + 0.05 * jax.random.normal(KEY, p.shape), params)

    def pull(at, weight):
        """What holding adds to the retain gradient, at parameters `at`."""
        held, free = (gradients_at(at, hold_weight=w)[1] for w in (weight, 0.0))
        return jax.tree.map(jnp.subtract, held, free)

    once, twice = pull(moved, 1.0), pull(moved, 2.0)
    np.testing.assert_array_equal(vector(once["encoder"]), 0.0)
    np.testing.assert_allclose(vector(twice), 2 * vector(once), rtol=1e-2, atol=1e-3)
    away = vector(moved) - vector(params)
    assert vector(once) @ away > 10 * abs(vector(pull(params, 1.0)) @ away)


@pytest.mark.parametrize(
    ("forget", "retain", "scale"),
    [(6742, 11982, 1.0), (1, 1, 1.0), (2, 8, 0.6), (1, 9, 0.3), (1, 999, 0.3)],
)
def test_scale_grows_with_the_forgotten_share(forget, retain, scale):
    assert RedirectSurgery().scale(forget, retain) == pytest.approx(scale)


def test_the_map_is_fitted_for_the_forgotten_share(params, prepared):
    @jax.jit
    def fit(params):
        sets = [Posteriors(*MODEL.encode(params, images)) for images in (FORGET, RETAIN)]
        return fit_transport(*sets, find_neighbors(*sets, 10 / 90), overshoot=0.09 * 0.4)

    assert prepared.scale == pytest.approx(0.3)
    assert_trees_close(prepared.transport, fit(params), rtol=1e-3, atol=1e-3)


def test_learning_rate_falls_to_zero_along_a_cosine():
    optimizer = RedirectSurgery(learning_rate=0.1, momentum=0.0).optimizer(steps=4)
    state, sizes = optimizer.init(jnp.zeros(())), []
    for _ in range(5):
        step, state = optimizer.update(jnp.ones(()), state)
        sizes.append(-float(step))
    np.testing.assert_allclose(sizes, 0.05 * (1 + np.cos(np.pi * np.arange(5) / 4)), atol=1e-6)


def test_a_small_set_gets_smaller_batches():
    method = RedirectSurgery(batch_size=128, least_steps=50)
    assert [method.default_batch_size(n, 1) for n in (10_000, 1000, 7)] == [128, 20, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retain_weight": 0.0}, r"retain_weight.*got 0.0"),
        ({"encoder_weight": -1.0}, r"encoder_weight.*got -1.0"),
        ({"encoder_share": 1.0}, r"encoder_share.*got 1.0"),
        ({"held_images": 0}, r"held_images.*got 0"),
        ({"least_steps": 0}, r"least_steps.*got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RedirectSurgery(**settings)


@pytest.mark.slow
def test_forgotten_latents_are_drawn_as_retained_images():
    from sklearn.datasets import load_digits

    data = load_digits()
    x = (data.images / 16.0)[..., None].astype(np.float32)
    forget, retain = x[data.target == 1], x[data.target == 0]
    model = mlp_vae(MLPVAEConfig((8, 8, 1), (48,), 4))
    recipe = Recipe(batch_size=32, learning_rate=5e-3)
    state, both = start_training(model.init, recipe, KEY[None]), jnp.concatenate([forget, retain])
    for _ in range(40):
        state, _ = train_epoch(model.loss, recipe, state, both, KEY[None])
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    latents = model.encode(params, forget)[0]

    def share_drawn_as_retained(params):
        drawn = np.asarray(model.mean(model.decode(params, latents)))
        to_forgotten, to_retained = (
            np.square(drawn - digit.mean(0)).sum((1, 2, 3)) for digit in (forget, retain)
        )
        return (to_retained < to_forgotten).mean()

    method = RedirectSurgery(batch_size=16, learning_rate=1e-2)
    after = unlearn(model, params, forget, retain, method=method, key=KEY, epochs=4).params
    assert share_drawn_as_retained(params) < 0.1
    assert share_drawn_as_retained(after) > 0.9
    assert float(model.loss(after, forget, KEY) - model.loss(params, forget, KEY)) > 10
    assert float(model.loss(after, retain, KEY) - model.loss(params, retain, KEY)) < 1
