"""What `multi_steps` refuses, with an error that names the argument."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import random_tree

from gsu_jax import multi_steps
from gsu_jax.surgery import project_conflicting


@pytest.mark.parametrize("name", ["k", "retain_gradients"])
def test_numbers_that_count_nothing_are_refused(name):
    make = partial(multi_steps, optax.identity(), **({"k": 2} if name != "k" else {}))
    with pytest.raises(ValueError, match=f"{name} .*at least 1, got 0"):
        make(**{name: 0})
    for value in (2.0, True, "2"):
        with pytest.raises(TypeError, match=f"{name} .*integer.*{value}"):
            make(**{name: value})
    make(**{name: np.int64(1)})


def test_mistakes_are_named():
    optimizer, u = multi_steps(project_conflicting(), 2), random_tree(0)
    state = optimizer.init(u)
    with pytest.raises(ValueError, match=r"multi_steps needs .*retain_grads="):
        optimizer.update(u, state, u)
    with pytest.raises(ValueError, match="no leaf decoder/kernel"):
        optimizer.update(u, state, u, retain_grads={"encoder": u["encoder"]})
    integers = jax.tree.map(lambda x: x.astype(jnp.int32), u)
    with pytest.raises(TypeError, match=r"retain_grads .*decoder/kernel .*int32"):
        optimizer.update(u, state, u, retain_grads=integers)


@pytest.mark.parametrize("other", [None, 2])
def test_sets_of_another_length_are_refused(other):
    optimizer = multi_steps(project_conflicting(), 2, retain_gradients=3)
    u = random_tree(0)
    with pytest.raises(ValueError, match=r"retain_grads .*\(3, 2, 3, 2\).*retain_gradients="):
        optimizer.update(u, optimizer.init(u), u, retain_grads=random_tree(1, k=other))
