"""What the library needs of JAX and XLA beyond their public interface."""

import re
from typing import Any

from jax._src import distributed

# XLA's log lines about the coordination service. They precede the abort of a process.
_ABORT_LOG = re.compile(r"^[EF]\d{4} \S+ +\d+ (coordination_service|client\.h)", re.M)
_EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|out of memory", re.I)
_LOST_PEER = re.compile(r"gloo|nccl|coordination", re.I)
# A lost process can also fail the shutdown barrier of the others, so its pattern is tried first.
# Each pattern has one group, for the numbers of processes; it is empty if XLA names none.
_ABORTS = {
    r"stopped sending heartbeats\):\s*((?:\d+\s)+)": "process {} was lost (its heartbeats stopped)",
    r"Task (\d+) heartbeat timeout": "process {} was lost (its heartbeats stopped)",
    r"Shutdown::.*?first task at the barrier: (\d+)": "process {} failed, which stopped the others",
    r"Failed to send RPC to ()coordination": "process 0 was lost (its coordinator does not answer)",
    r"DEADLINE_EXCEEDED.*()RegisterTask": (
        "not all processes came in time; each needs the same --processes and --coordinator, and a "
        "--process of its own"
    ),
}


def process_group() -> Any:
    """Returns the state of `jax.distributed`: `client`, `process_id` and `num_processes`.

    Unlike `jax.process_index`, it starts no backend. `client` is the only way to the coordinator's
    key-value store and barriers.
    """
    return distributed.global_state


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether XLA raised `error` because a device ran out of memory."""
    return bool(_EXHAUSTED.search(str(error)))


def is_lost_peer(error: BaseException) -> bool:
    """Returns whether a collective operation raised `error` because another process is gone."""
    return process_group().client is not None and bool(_LOST_PEER.search(str(error)))


def own_words(said: str) -> str:
    """Returns what a process wrote to standard error before XLA's report of an abort."""
    match = _ABORT_LOG.search(said)
    return said[: match.start()] if match else said


def explain_abort(said: str) -> str | None:
    """Returns why XLA ended the process that wrote `said` to standard error, None if unknown."""
    for pattern, why in _ABORTS.items():
        if match := re.search(pattern, said, re.S):
            return why.format(", ".join(match[1].split()))
    return None
