"""What `unlearn` refuses, before anything is compiled."""

import jax
import numpy as np
import pytest
from linear_autoencoder import MODEL, images

from gsu_jax import FineTune, GradientSurgery, unlearn

FORGET, RETAIN = images(1, 6, offset=0.5), images(2, 9)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "forget_it"}, ValueError, "method.*'forget_it'"),
        ({"method": FineTune}, ValueError, "method|FineTune"),
        ({"method": "redirect_surgery"}, ValueError, "redirect_surgery.* encode"),
        ({"method": GradientSurgery(through="decoder")}, ValueError, "gradient_surgery.* encode"),
        ({"guide": object()}, ValueError, "guide.* gradient_ascent"),
        ({"forget": FORGET[:0]}, ValueError, "forget"),
        ({"retain": RETAIN[:0]}, ValueError, "retain"),
        ({"forget": FORGET * 255}, ValueError, "forget.* 255"),
        ({"retain": np.full_like(RETAIN, np.nan)}, ValueError, "retain.* NaN"),
        ({"forget": FORGET[0]}, ValueError, "forget"),
        ({"forget": FORGET[:, :1]}, ValueError, r"\(1, 2, 1\) and \(2, 2, 1\)"),
        ({"forget": FORGET.astype(int)}, TypeError, "forget"),
        ({"epochs": -1}, ValueError, "epochs.*got -1"),
        ({"epochs": 0.5}, TypeError, r"epochs.*got 0\.5"),
        ({"batch_size": 0}, ValueError, "batch_size.*got 0"),
        ({"retain_batch_size": 0}, ValueError, "retain_batch_size.*got 0"),
        ({"optimizer": 1e-3}, TypeError, r"optimizer.*got 0\.001"),
    ],
)
def test_bad_argument_is_named(changes, error, message):
    arguments = {"forget": FORGET, "retain": RETAIN, "method": "gradient_ascent"}
    params = jax.tree.map(np.zeros_like, jax.eval_shape(MODEL.init, jax.random.key(0)))
    with pytest.raises(error, match=message):
        unlearn(MODEL, params, key=jax.random.key(1), **arguments | changes)
