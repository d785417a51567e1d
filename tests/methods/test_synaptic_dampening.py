import jax.numpy as jnp
import numpy as np
import pytest
from method_steps import KEY

from gsu_jax import GenerativeModel, SynapticDampening
from gsu_jax.data import ImageSet


def loss(params, images, key):
    """The mean of theta.x over images: the gradient at an image is the image."""
    return (images.reshape(len(images), -1) @ params["theta"]).mean()


MODEL = GenerativeModel(lambda key: {"theta": jnp.ones(4)}, loss, lambda params, key, n: None)
PARAMS = {"theta": np.float32([1.0, -2.0, 3.0, 4.0])}
# Pixels: of both alike; of the forgotten more; of the forgotten alone; of none.
FORGET = np.float32([[0.6, 0.9, 0.8, 0.0], [0.2, 0.3, 0.4, 0.0], [0.4, 0.9, 0.0, 0.0]])
RETAIN = np.float32([[0.5, 0.4, 0.0, 0.0], [0.3, 0.2, 0.0, 0.0]])
FORGET, RETAIN = FORGET.reshape(3, 2, 2, 1), RETAIN.reshape(2, 2, 2, 1)


def dampened(method):
    sets = ImageSet.of(FORGET), ImageSet.of(RETAIN)
    return np.asarray(method.start(MODEL, PARAMS, *sets, KEY)["theta"])


@pytest.mark.parametrize(("threshold", "dampening"), [(2.0, 1.0), (2.0, 8.0), (1e3, 1.0)])
def test_what_matters_to_the_forgotten_alone_is_made_smaller(threshold, dampening):
    forget, retain = (np.square(np.float64(x)).mean(0).ravel() for x in (FORGET, RETAIN))
    theta, expected = np.array([1.0, -2.0, 3.0, 4.0]), []
    for value, f, r in zip(theta, forget, retain, strict=True):
        expected.append(value * min(1.0, dampening * r / f) if f > threshold * r else value)
    found = dampened(SynapticDampening(threshold=threshold, dampening=dampening))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[0] == 1  # no more of the forgotten than of the retained
    assert found[2] == 0  # of the forgotten alone
    assert found[3] == 4  # of neither


def test_no_more_images_than_asked_for_are_looked_at():
    found = dampened(SynapticDampening(threshold=1.5, fisher_images=1))
    forget, retain = (np.square(x.reshape(len(x), 4)[:, 1]) for x in (FORGET, RETAIN))
    possible = [-2 * (r / f if f > 1.5 * r else 1) for f in forget for r in retain]
    assert min(abs(found[1] - one) for one in possible) < 1e-5


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"dampening": 0}, {"fisher_images": 0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=r"(threshold|dampening|fisher_images) .*got 0"):
        SynapticDampening(**settings)
