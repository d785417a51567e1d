"""The analytic test of a method. Copy to `tests/methods/test_NAME.py`.

It takes one step on a model that is small enough to compute by hand, and compares it with the
formula in NumPy. `tests/linear_autoencoder.py` is such a model; `tests/method_steps.py` takes the
step.
"""

import jax
import linear_autoencoder
import numpy as np
from method_steps import batch_of, first_step

from method import Skeleton  # isort: skip


def test_step_follows_the_weighted_sum_of_both_gradients():
    params = linear_autoencoder.init(jax.random.key(0))
    forget, retain = linear_autoencoder.images(1, 6), linear_autoencoder.images(2, 8, offset=0.5)
    step = first_step(
        Skeleton(weight=2.0), linear_autoencoder.MODEL, params, batch_of(forget, retain)
    )
    expected = jax.tree.map(
        lambda f, r: -0.1 * (2.0 * r - f),
        linear_autoencoder.gradient(params, forget),
        linear_autoencoder.gradient(params, retain),
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), step, expected
    )
