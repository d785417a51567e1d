"""How programs are compiled, placed on devices and run as processes."""

from gsu_jax.runtime._compiled import Compiled, Stopwatch, compile_together, on_one_device
from gsu_jax.runtime._environment import describe_environment
from gsu_jax.runtime._jax_internals import explain_abort, is_lost_peer, own_words
from gsu_jax.runtime._memory import OutOfMemory, explain_out_of_memory
from gsu_jax.runtime._memory_maps import share_of_memory_maps
from gsu_jax.runtime._mesh import check_processes, make_mesh
from gsu_jax.runtime._placement import Placement, take_rows
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
from gsu_jax.runtime._program_cache import ProgramCache
from gsu_jax.runtime._progress import announce, long_run, stage
from gsu_jax.runtime._step_loop import loop_steps, scan_steps

__all__ = [
    "HEARTBEAT",
    "LAUNCHED",
    "Compiled",
    "OutOfMemory",
    "Placement",
    "ProgramCache",
    "Stopwatch",
    "all_gather_json",
    "announce",
    "broadcast_arrays",
    "broadcast_from_first",
    "check_processes",
    "compile_together",
    "describe_environment",
    "explain_abort",
    "explain_out_of_memory",
    "is_first",
    "is_lost_peer",
    "join",
    "long_run",
    "loop_steps",
    "make_mesh",
    "on_first_process",
    "on_one_device",
    "own_words",
    "put",
    "scan_steps",
    "share_of_memory_maps",
    "stage",
    "take_rows",
    "timeouts",
    "to_host",
]
