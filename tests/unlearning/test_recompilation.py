"""Which requests compile nothing."""

import gaussian_vae
import jax
import linear_autoencoder
import numpy as np
import pytest
from compilations import count_compilations
from helpers import assert_finite
from linear_autoencoder import images

from gsu_jax import RedirectSurgery, SelectiveAmnesia, SynapticDampening, unlearn
from gsu_jax.unlearning import compile_ahead

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    "method", [RedirectSurgery(momentum=0.123), SelectiveAmnesia(learning_rate=0.123)]
)
def test_requests_of_other_sizes_run_what_was_compiled_ahead(method):
    model, key = gaussian_vae.MODEL, jax.random.key(1)
    params, everything = jax.jit(model.init)(key), images(1, 700, offset=0.3)

    def request(method, n_forget):
        sets = everything[:n_forget], everything[n_forget:]
        return unlearn(model, params, *sets, method=method, key=key)

    request("before", 355)  # keys are split, arrays placed
    shape = (2, 2, 1), 380, 320
    assert compile_ahead(model, *shape, method=method, dtype=np.float32) > 0
    assert compile_ahead(model, *shape, method=method, dtype=np.float32) == 0
    for n_forget in (355, 301):
        with count_compilations() as compiled:
            result = request(method, n_forget)
        assert compiled == []
        assert result.compile_seconds == 0
        assert result.seconds > 0
        assert_finite(result.params)


def test_method_without_steps_is_compiled_ahead():
    model, method = linear_autoencoder.MODEL, SynapticDampening(threshold=7.5)
    assert compile_ahead(model, (2, 2, 1), 20, 20, method=method, dtype=np.float32) > 0
    sets, key = (images(1, 20, offset=0.3), images(2, 20)), jax.random.key(1)
    result = unlearn(model, model.init(key), *sets, method=method, key=key)
    assert (result.steps, result.compile_seconds) == (0, 0)
