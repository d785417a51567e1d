import gc
import weakref

import jax
import jax.numpy as jnp
import pytest
from linear_autoencoder import MODEL, images

from gsu_jax import GradientAscent, unlearn
from gsu_jax.runtime import Compiled, ProgramCache, _program_cache, share_of_memory_maps
from gsu_jax.runtime._memory_maps import MAPS


def test_entry_is_built_once():
    cache = ProgramCache()
    assert cache.get("a", object) is cache.get("a", object)
    assert cache.get("a", object) is not cache.get("b", object)


def test_least_recently_used_entry_is_dropped():
    cache = ProgramCache(max_size=2)
    first = cache.get("a", object)
    second = cache.get("b", object)
    assert cache.get("a", object) is first
    cache.get("c", object)
    assert len(cache) == 2
    assert cache.get("a", object) is first
    assert cache.get("b", object) is not second


def test_programs_are_dropped_before_the_memory_maps_run_out(monkeypatch):
    """Linux ends a process that has more; 128 programs need up to four times as many."""
    share = 0.49
    monkeypatch.setattr(_program_cache, "share_of_memory_maps", lambda: share)
    cache = ProgramCache()
    cache.get("a", object)
    cache.get("b", object)
    share = 0.51
    cache.get("b", object)
    assert len(cache) == 2  # nothing new is compiled
    cache.get("c", object)
    assert len(cache) == 1


@pytest.mark.skipif(not MAPS.exists(), reason="this system has no /proc")
def test_compiled_program_takes_memory_maps_and_its_end_frees_them():
    def program(x):
        for i in range(50):
            x = jnp.sort(jnp.sin(x) + i)
        return x

    before = share_of_memory_maps()
    compiled = Compiled(program)
    compiled.compile(jnp.ones(8))
    after = share_of_memory_maps()
    assert before < after < 1.0
    del compiled, program
    gc.collect()
    assert share_of_memory_maps() < after


def test_cleared_cache_keeps_nothing_alive():
    class Entry:
        pass

    cache = ProgramCache()
    reference = weakref.ref(cache.get("a", Entry))
    assert reference() is not None
    cache.clear()
    gc.collect()
    assert len(cache) == 0
    assert reference() is None


def test_size_below_one_is_refused():
    with pytest.raises(ValueError, match=r"max_size.*got 0"):
        ProgramCache(max_size=0)


def test_unlearn_uses_the_default_cache_of_the_moment(monkeypatch):
    def request():
        return unlearn(
            MODEL, MODEL.init(jax.random.key(0)), images(1, 6, 0.5), images(2, 9),
            method=GradientAscent(learning_rate=0.125), key=jax.random.key(1),
        ).compile_seconds  # fmt: skip

    monkeypatch.setattr(ProgramCache, "default", ProgramCache())
    assert request() > 0
    assert request() == 0
    ProgramCache.default.clear()
    assert request() > 0
