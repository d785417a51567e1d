import jax
import numpy as np
import pytest
from helpers import assert_trees_close
from linear_autoencoder import MODEL, gradient, images
from method_steps import KEY, batch_of

from gsu_jax import METHODS, FineTune, GradientAscent, GradientSurgery
from gsu_jax.methods import get_method

FORGET, RETAIN = images(3, 4, offset=0.3), images(2, 6)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def test_methods_are_found_by_name():
    for name, method in METHODS.items():
        assert get_method(name) == method()
        assert get_method(name).name == name


def test_a_method_object_is_returned_unchanged():
    method = GradientSurgery(when="conflict")
    assert get_method(method) is method
    assert hash(method) == hash(GradientSurgery(when="conflict")) != hash(GradientSurgery())


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"method.*surgery.*gradient_surgery"):
        get_method("surgery")


def test_roles_name_the_baseline_and_the_yardstick():
    roles = {name: method.role for name, method in METHODS.items() if method.role != "method"}
    assert roles == {"before": "baseline", "retrain": "yardstick"}


def test_ascent_follows_minus_the_gradient(params):
    step = GradientAscent().gradients(MODEL, None, params, batch_of(FORGET, RETAIN), KEY)
    assert_trees_close(step.updates, jax.tree.map(np.negative, gradient(params, FORGET)), 1e-4)
    assert step.metrics["forget_loss"] > 0


def test_fine_tuning_follows_the_gradient_of_retained_images(params):
    step = FineTune().gradients(MODEL, None, params, batch_of(RETAIN, RETAIN), KEY)
    assert_trees_close(step.updates, gradient(params, RETAIN), 1e-4)
