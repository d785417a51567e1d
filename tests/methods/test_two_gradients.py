import jax
import numpy as np
import optax
import pytest
from helpers import cosine, vector
from linear_autoencoder import MODEL, gradient, images
from method_steps import batch_of, first_step

from gsu_jax.methods import GRU, CAGrad, MUNBa, PCGrad, ProjectRetain, SurgeryInAdamMetric

RETAIN = images(2, 6)
# Ascending the loss of the first raises the retained loss, that of the second lowers it.
ALIKE, UNLIKE = images(3, 4, offset=0.3), np.zeros((4, 2, 2, 1), np.float32)
UNLIKE[:, 1, 1] = 1.0


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def update(method, params, forget=ALIKE, optimizer=None):
    return first_step(method, MODEL, params, batch_of(forget, RETAIN), optimizer)


def on_conflict(a, r):
    """`a` without its component along `r` if both conflict."""
    return a - min(0.0, a @ r) / (r @ r) * r


def cagrad_by_search(a, r, c=0.5):
    """The minimum of the dual over a fine grid of weights."""
    mean, weights = (a + r) / 2, np.linspace(0, 1, 100_001)[:, None]
    mixed = weights * a + (1 - weights) * r
    norms = np.linalg.norm(mixed, axis=1)
    reach = c * np.linalg.norm(mean)
    best = np.argmin(mixed @ mean + reach * norms)
    return mean + reach * mixed[best] / norms[best]


def bisector(a, r):
    units = a / np.linalg.norm(a), r / np.linalg.norm(r)
    return sum(units) / np.sqrt(1 + units[0] @ units[1])


FORMULAS = {
    PCGrad: lambda a, r: on_conflict(a, r) + on_conflict(r, a),
    CAGrad: cagrad_by_search,
    MUNBa: bisector,
    GRU: on_conflict,  # the first running mean is r
    ProjectRetain: lambda a, r: r - (r @ a) / (a @ a) * a,
}


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("forget", [ALIKE, UNLIKE], ids=["conflict", "agree"])
def test_a_first_step_is_the_formula(params, method, forget):
    a, r = -vector(gradient(params, forget)), vector(gradient(params, RETAIN))
    expected = -0.1 * FORMULAS[method](a, r)
    found = vector(update(method(), params, forget))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_gru_adds_the_weighted_retain_gradient(params):
    added = vector(update(GRU(retain_weight=2.0), params)) - vector(update(GRU(), params))
    expected = -0.1 * 2.0 * vector(gradient(params, RETAIN))
    np.testing.assert_allclose(added, expected, rtol=1e-3, atol=1e-5)


def test_adam_metric_projects_the_first_step_of_adam(params):
    method, r = SurgeryInAdamMetric(learning_rate=0.1), vector(gradient(params, RETAIN))
    step = vector(update(method, params, optimizer=method.optimizer(1)))
    a = -vector(gradient(params, ALIKE))  # Adam's first step is a / |a|
    expected = np.sign(a) - (r @ np.sign(a)) / (r @ (r / np.abs(a))) * r / np.abs(a)
    np.testing.assert_allclose(step, -0.1 * expected, atol=1e-4)
    assert abs(cosine([step], [r])) < 1e-5


def test_adam_metric_refuses_another_optimizer(params):
    with pytest.raises(ValueError, match=r"optimizer.*projected_adam"):
        update(SurgeryInAdamMetric(), params, optimizer=optax.adam(0.1))


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (CAGrad, {"c": 1.0}, r"c .*got 1.0"),
        (GRU, {"decay": -0.1}, r"decay.*got -0.1"),
        (SurgeryInAdamMetric, {"when": "never"}, r"when.*got 'never'"),
        (SurgeryInAdamMetric, {"retain_gradients": 0}, r"retain_gradients.*got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(method, settings, message):
    with pytest.raises(ValueError, match=message):
        method(**settings)


def test_adam_metric_refuses_a_retain_weight_that_has_no_effect():
    with pytest.raises(ValueError, match=r"retain_weight.*got 1.0"):
        SurgeryInAdamMetric(retain_weight=1.0).check(MODEL)
