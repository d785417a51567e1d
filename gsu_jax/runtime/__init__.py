"""How programs are compiled, placed on devices and run as processes."""

from gsu_jax.runtime._collectives import collectives
from gsu_jax.runtime._compiled import Compiled, compile_together, jitted, on_one_device, timed
from gsu_jax.runtime._environment import describe_environment
from gsu_jax.runtime._jax_internals import explain_abort, is_lost_peer, own_words
from gsu_jax.runtime._memory import OutOfMemory
from gsu_jax.runtime._mesh import check_processes, make_mesh
from gsu_jax.runtime._placement import Placement, check_batch, fit_batch
from gsu_jax.runtime._processes import (
    HEARTBEAT,
    LAUNCHED,
    all_gather_json,
    broadcast_arrays,
    broadcast_from_first,
    is_first,
    join,
    on_first_process,
    put,
    timeouts,
    to_host,
)
from gsu_jax.runtime._progress import stage
from gsu_jax.runtime._step_loop import select, stepper

__all__ = [
    "HEARTBEAT",
    "LAUNCHED",
    "Compiled",
    "OutOfMemory",
    "Placement",
    "all_gather_json",
    "broadcast_arrays",
    "broadcast_from_first",
    "check_batch",
    "check_processes",
    "collectives",
    "compile_together",
    "describe_environment",
    "explain_abort",
    "fit_batch",
    "is_first",
    "is_lost_peer",
    "jitted",
    "join",
    "make_mesh",
    "on_first_process",
    "on_one_device",
    "own_words",
    "put",
    "select",
    "stage",
    "stepper",
    "timed",
    "timeouts",
    "to_host",
]
