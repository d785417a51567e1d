"""Arrays written and read with orbax by one process on its own."""

import contextlib
import functools
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsu_jax.checks import import_extra

# Orbax is imported where it is used: it costs 0.4 s, and a finished run reads results without it.


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides orbax's warnings and log lines, which address its developers; errors still raise."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _without_late_writers() -> Iterator[None]:
    """Hides what TensorStore prints of writers that end after a save has failed, on a full disk.

    They find asyncio's loop closed. No caller is left to catch that, so Python prints it; also a
    moment after this block, so the hook stays where a save failed.
    """
    hook = sys.unraisablehook
    if getattr(hook, "func", None) is not _print_unless_late:
        sys.unraisablehook = functools.partial(_print_unless_late, hook)
    yield
    sys.unraisablehook = hook


def _print_unless_late(hook: Any, unraisable: Any) -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        hook(unraisable)


@_without_late_writers()
@_quiet()
def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays that have elements: orbax cannot store empty ones."""
    arrays, path = _not_empty(arrays), path.absolute()
    if not arrays:
        return
    if jax.process_count() == 1:
        _orbax().save(path, arrays, overwrite=True)
        return
    from orbax import checkpoint

    # v1 waits for all processes whatever its options say (0.12.8); the files are the same.
    this = _this_process(checkpoint.options.MultiprocessingOptions())
    handler = checkpoint.CompositeCheckpointHandler(
        composite_options=checkpoint.CompositeOptions(multiprocessing_options=this),
        state=checkpoint.PyTreeCheckpointHandler(multiprocessing_options=this),
    )
    with checkpoint.Checkpointer(handler, multiprocessing_options=this) as writer:
        state = checkpoint.args.PyTreeSave(arrays)
        writer.save(path, checkpoint.args.Composite(state=state), force=True)


@_quiet()
def read_arrays(path: Path, like: dict[str, np.ndarray]) -> dict[str, Any]:
    """Reads the arrays named in `like`; the empty ones are those of `like` itself."""
    wanted, path = _not_empty(like), path.absolute()
    if not wanted:
        return like
    if jax.process_count() == 1:
        return like | _orbax().load(path, wanted)
    context = _orbax().Context()
    _this_process(context.multiprocessing)
    with context:
        return like | _orbax().load(path, wanted)


@_quiet()
def read_foreign(path: Path, like: Any) -> Any:
    """Reads a checkpoint of orbax's own, in the structure of `like`."""
    return _orbax().load(path.absolute(), like)


def _not_empty(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if array.size}


def _orbax() -> Any:
    return import_extra("orbax.checkpoint", "orbax-checkpoint", "a checkpoint").v1


def _this_process(options: Any) -> Any:
    """Sets orbax's `options` so that this process waits for no other one."""
    process = jax.process_index()
    options.primary_host, options.active_processes = process, {process}
    options.barrier_sync_key_prefix = f"process-{process}"
    return options
