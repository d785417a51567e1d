"""Programs that come from the cache of the suite count as compiled."""

import jax
import jax.numpy as jnp
from compilations import count_compilations


def test_cached_program_counts_as_compiled():
    x = jnp.ones(3)
    for _ in range(2):
        with count_compilations() as compiled:
            jax.jit(lambda x: 3 * x + 17)(x)
        assert len(compiled) == 1
