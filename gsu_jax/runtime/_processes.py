"""Several processes, each with devices of its own, that run one program together.

Each process makes the same calls in the same order with the same values; a mesh has the devices of
all. Process 0 alone writes, draws and judges. The others receive what it reads, so no disk need be
shared. With a single process all of this costs nothing.
"""

import functools
import itertools
import json
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.runtime._jax_internals import process_group

LAUNCHED = "GSU_JAX_LAUNCHED"  # the arguments of jax.distributed.initialize, as JSON
HEARTBEAT = 20  # seconds after which a silent process is lost
FOREVER = 10**9  # milliseconds; the runtime ends processes that wait for a lost one
ERRORS = (ValueError, TypeError, OSError, ImportError)

_message_numbers = itertools.count()  # the same on all processes, which speak in the same order
_runs_alone = ContextVar("_runs_alone", default=False)


def join() -> None:
    """Joins the other processes, if there are any; call it before JAX looks for devices.

    There are others if `python -m gsu_jax launch` started this process, or Slurm, Open MPI or an
    indexed Kubernetes job started several. JAX aborts the process if the others do not come in
    time.

    Raises:
        OSError: process 0 cannot listen at the port of the coordinator.
    """
    if LAUNCHED in os.environ:
        settings = json.loads(os.environ[LAUNCHED])
    elif _in_cluster():
        settings = timeouts(HEARTBEAT)
    else:
        return
    # Gloo greets on the descriptor of standard output, which is for results.
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # This service would swallow SIGTERM. A run survives that at any moment.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**settings)
    except RuntimeError as error:
        raise OSError(f"JAX cannot start its coordinator; give another port ({error})") from error
    jax.devices()  # the processes exchange their devices, all at the same time


def timeouts(heartbeat: int) -> dict[str, int]:
    """Returns the settings of `jax.distributed.initialize` that make it name a lost process.

    A process that fails waits for the others to shut down. It must wait longer than the runtime
    takes to notice that one of them is gone.
    """
    return {"heartbeat_timeout_seconds": heartbeat, "shutdown_timeout_seconds": heartbeat + 10}


def count() -> int:
    """Returns how many processes there are."""
    return process_group().num_processes


def is_first() -> bool:
    """Returns whether this is process 0, the one that writes and prints.

    Example:
        >>> from gsu_jax.runtime import is_first
        >>> is_first()
        True
    """
    return process_group().process_id == 0


def barrier() -> None:
    """Waits for all processes to get here."""
    if not _is_alone():
        process_group().client.wait_at_barrier("gsu_jax", FOREVER)


def broadcast_from_first(function: Callable[[], Any]) -> Any:
    """Calls `function` on process 0 alone and returns its answer on every process.

    Calls inside `function` do not wait for the other processes.

    Args:
        function: must not touch arrays that lie on several processes.

    Returns:
        What `function` returned, as JSON preserves it.

    Raises:
        Exception: what `function` raised, on every process.

    Example:
        >>> from gsu_jax.runtime import broadcast_from_first
        >>> broadcast_from_first(lambda: 1 + 1)
        2
    """
    if _is_alone():
        return function()
    answer, raised = None, None
    if is_first():
        token = _runs_alone.set(True)
        try:
            answer = {"value": function()}
        except Exception as error:
            raised = error
            kinds = [kind.__name__ for kind in ERRORS if isinstance(error, kind)]
            answer = {"error": str(error), "kind": [*kinds, "RuntimeError"][0]}
        finally:
            _runs_alone.reset(token)
    answer = json.loads(_share(None if answer is None else json.dumps(answer).encode()))
    if raised is not None:
        raise raised
    if "error" in answer:
        kinds = {kind.__name__: kind for kind in ERRORS}
        raise kinds.get(answer["kind"], RuntimeError)(answer["error"])
    return answer["value"]


def on_first_process(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `function` run on process 0 alone and answer on every process.

    A decorator for functions and methods that read or write files, draw or print. The answer must
    fit JSON; an error is raised on every process. See `broadcast_from_first`.

    Args:
        function: called on process 0 with the arguments that process 0 was given.

    Example:
        >>> import os
        >>> from gsu_jax.runtime import on_first_process
        >>> @on_first_process
        ... def exists(path):
        ...     return os.path.exists(path)
        >>> exists("/nowhere")
        False
    """

    @functools.wraps(function)
    def answered(*args: Any, **kwargs: Any) -> Any:
        return broadcast_from_first(lambda: function(*args, **kwargs))

    return answered


def broadcast_arrays(function: Callable[[], Any], like: Any) -> Any:
    """Calls `function` on process 0 alone and returns its tree of arrays on every process.

    Args:
        function: as for `broadcast_from_first`.
        like: a tree with the structure, shapes and dtypes of the answer.

    Returns:
        The tree of `function`. The other processes get NumPy arrays where `like` has some, and JAX
        arrays elsewhere.
    """
    if _is_alone():
        return function()
    own = []
    broadcast_from_first(lambda: own.append(function()))
    leaves, structure = jax.tree.flatten(like)
    if own:
        for leaf in jax.tree.leaves(own[0]):
            _share(np.asarray(leaf).tobytes())
        return own[0]

    def receive(leaf: Any) -> Any:
        array = np.frombuffer(_share(), leaf.dtype).reshape(leaf.shape)
        return array.copy() if isinstance(leaf, np.ndarray) else jnp.asarray(array)

    return jax.tree.unflatten(structure, [receive(leaf) for leaf in leaves])


def all_gather_json(value: Any) -> list[Any]:
    """Returns the `value` of every process, in their order, as JSON preserves it.

    Example:
        >>> from gsu_jax.runtime import all_gather_json
        >>> all_gather_json({"seeds": 3})
        [{'seeds': 3}]
    """
    if _is_alone():
        return [json.loads(json.dumps(value))]
    group, key = process_group(), _message_key()
    group.client.key_value_set(f"{key}/{group.process_id}", json.dumps(value))
    return [
        json.loads(group.client.blocking_key_value_get(f"{key}/{i}", FOREVER))
        for i in range(count())
    ]


def to_host(tree: Any) -> Any:
    """Returns `tree` with NumPy arrays for the arrays that lie on several processes.

    All processes must call it.
    """

    def fetch(leaf: Any) -> Any:
        if not _spans_processes(leaf):
            return leaf
        if leaf.is_fully_replicated:
            return np.asarray(leaf)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(fetch, tree)


def put(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Returns `jax.device_put(array, sharding)` of an array that every process has.

    Each process gives its own devices their part.
    """
    if sharding.is_fully_addressable or _spans_processes(array):
        return jax.device_put(array, sharding)
    if not jnp.issubdtype(jnp.result_type(array), jax.dtypes.prng_key):
        array = np.asarray(array, jnp.result_type(array))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def barrier_before(arguments: Any) -> None:
    """Waits for all processes if some of the arrays in `arguments` lie on several of them.

    The first contact of processes through gloo must come within 30 seconds of each other, and no
    clock should count the wait for a process that still compiles.
    """
    if not _is_alone() and any(map(_spans_processes, jax.tree.leaves(arguments))):
        barrier()


def _in_cluster() -> bool:
    """Whether a cluster manager that `jax.distributed` knows started several processes."""
    if {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= os.environ.keys():
        return True
    sizes = (os.environ.get(n, "1") for n in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(int(size) > 1 for size in sizes)


def _is_alone() -> bool:
    return count() == 1 or _runs_alone.get()


def _spans_processes(array: Any) -> bool:
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def _message_key() -> str:
    return f"gsu_jax/{next(_message_numbers)}"


def _share(content: bytes | None = None) -> bytes:
    """The content of process 0, on all."""
    client, key = process_group().client, _message_key()
    if is_first():
        client.key_value_set_bytes(key, content)
    else:
        content = client.blocking_key_value_get_bytes(key, FOREVER)
    client.wait_at_barrier(f"{key}/heard", FOREVER)
    if is_first():
        client.key_value_delete(key)
    return content
