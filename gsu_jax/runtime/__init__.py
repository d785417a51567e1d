"""How programs are compiled, placed on devices and run as processes."""

from gsu_jax.runtime._collectives import collectives
from gsu_jax.runtime._compiled import Compiled, compile_together, jitted, on_one_device, timed
from gsu_jax.runtime._environment import describe_environment
from gsu_jax.runtime._memory import OutOfMemory
from gsu_jax.runtime._mesh import check_processes, make_mesh
from gsu_jax.runtime._placement import Placement, check_batch, fit_batch
from gsu_jax.runtime._processes import (
    COORDINATOR,
    HEARTBEAT,
    PROCESS,
    PROCESSES,
    WAIT,
    all_gather_json,
    broadcast_arrays,
    broadcast_from_first,
    is_first,
    join,
    on_first_process,
    put,
    to_host,
)
from gsu_jax.runtime._progress import stage
from gsu_jax.runtime._step_loop import select, stepper

__all__ = [
    "COORDINATOR",
    "HEARTBEAT",
    "PROCESS",
    "PROCESSES",
    "WAIT",
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
    "fit_batch",
    "is_first",
    "jitted",
    "join",
    "make_mesh",
    "on_first_process",
    "on_one_device",
    "put",
    "select",
    "stage",
    "stepper",
    "timed",
    "to_host",
]
