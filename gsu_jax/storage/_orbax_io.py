"""Reading and writing arrays with orbax, by one process or by several."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if jax.process_count() == 1:
        _orbax().save(path, arrays, overwrite=True)
        return
    from orbax import checkpoint

    # v1 waits for the other processes whatever it is told (0.12.8); the files are the same.
    this = _this_process(checkpoint.options.MultiprocessingOptions())
    handler = checkpoint.CompositeCheckpointHandler(
        composite_options=checkpoint.CompositeOptions(multiprocessing_options=this),
        state=checkpoint.PyTreeCheckpointHandler(multiprocessing_options=this),
    )
    with checkpoint.Checkpointer(handler, multiprocessing_options=this) as writer:
        state = checkpoint.args.PyTreeSave(arrays)
        writer.save(path, checkpoint.args.Composite(state=state), force=True)


def read_arrays(path: Path, like: dict[str, np.ndarray]) -> dict[str, Any]:
    if jax.process_count() == 1:
        return _orbax().load(path, like)
    context = _orbax().Context()
    _this_process(context.multiprocessing)
    with context:
        return _orbax().load(path, like)


def _orbax() -> Any:
    # Not at the top: orbax costs 0.4 s, and a finished run reads results without it.
    from orbax.checkpoint import v1

    return v1


def _this_process(options: Any) -> Any:
    """Orbax's options for a process that reads and writes without the others."""
    process = jax.process_index()
    options.primary_host, options.active_processes = process, {process}
    options.barrier_sync_key_prefix = f"process-{process}"
    return options


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Orbax's warnings and log lines are for its developers; errors still raise."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
