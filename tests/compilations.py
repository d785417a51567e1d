"""How many programs XLA compiles while a block runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def count_compilations() -> Iterator[list[str]]:
    """Gives a list that grows by one entry for every program compiled in the block."""
    compiled: list[str] = []

    def listen(event: str, duration: float, **details: str) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(details))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
