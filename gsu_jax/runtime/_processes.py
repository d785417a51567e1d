"""One program run as several processes, on one machine or many: who does what, and what all know.

Every process runs the same lines; training and unlearning share their batches over a mesh of the
devices of all. Process 0 alone writes, draws and judges, and the others hear from it what it
read: no disk need be shared. With a single process all of this costs nothing.
"""

import functools
import itertools
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed  # the one way to the coordinator's store of keys and values

from gsu_jax.runtime._rendezvous import rendezvous

COORDINATOR, PROCESSES, PROCESS, WAIT, HEARTBEAT = (
    f"GSU_JAX_{name}" for name in ("COORDINATOR", "PROCESSES", "PROCESS", "WAIT", "HEARTBEAT")
)
FOREVER = 10**9  # milliseconds; a process that dies ends the others' waiting
ERRORS = (ValueError, TypeError, OSError, ImportError)
_numbers = itertools.count()
_on_its_own = False


def join() -> None:
    """Joins the other processes where `gsu_jax.cli` started this one; before any JAX device.

    Raises:
      TimeoutError: some did not come in time; names them.
      ValueError: the processes were not started alike.
      OSError: the coordinator cannot listen at its port.
    """
    if COORDINATOR not in os.environ:
        return
    coordinator, wait = os.environ[COORDINATOR], float(os.environ[WAIT])
    processes, process = int(os.environ[PROCESSES]), int(os.environ[PROCESS])
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    # Gloo greets on standard output, which is for results.
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    rendezvous(coordinator, processes, process, wait)
    # Its service would swallow SIGTERM; a run survives that at any moment.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        initialization_timeout=60,
        heartbeat_timeout_seconds=int(os.environ[HEARTBEAT]),
        shutdown_timeout_seconds=10,
    )
    jax.devices()  # the processes tell each other theirs, all at the same time


def count() -> int:
    """How many processes there are."""
    return distributed.global_state.num_processes


def is_first() -> bool:
    """Whether this is process 0, the one that writes and prints."""
    return distributed.global_state.process_id == 0


def barrier() -> None:
    """Waits for all processes to get here."""
    if not _alone():
        _client().wait_at_barrier(_key(), FOREVER)


def broadcast_from_first(function: Callable[[], Any]) -> Any:
    """What `function()` returns on process 0, as JSON has it, on all; an error is raised on all.

    It is called on process 0 alone, and must not touch arrays that lie on several processes.
    """
    if _alone():
        return function()
    said, raised = None, None
    if is_first():
        try:
            with _by_itself():
                said = {"value": function()}
        except Exception as error:
            raised = error
            kinds = [kind.__name__ for kind in ERRORS if isinstance(error, kind)]
            said = {"error": str(error), "kind": [*kinds, "RuntimeError"][0]}
    said = json.loads(_share(None if said is None else json.dumps(said).encode()))
    if raised is not None:
        raise raised
    if "error" in said:
        kinds = {kind.__name__: kind for kind in ERRORS}
        raise kinds.get(said["kind"], RuntimeError)(said["error"])
    return said["value"]


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
    """The tree of arrays that `function()` returns on process 0, on all; an error is raised on all.

    `like` has its structure, shapes and dtypes; the others get NumPy arrays where it has some, and
    JAX arrays elsewhere.
    """
    if _alone():
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
    """The `value` of every process, in their order, as JSON has it, on every process."""
    if _alone():
        return [json.loads(json.dumps(value))]
    client, key = _client(), _key()
    client.key_value_set(f"{key}/{distributed.global_state.process_id}", json.dumps(value))
    return [
        json.loads(client.blocking_key_value_get(f"{key}/{i}", FOREVER)) for i in range(count())
    ]


def to_host(tree: Any) -> Any:
    """`tree` with each array that lies on several processes, whole or in parts, as a NumPy array.

    To be called by all of them.
    """

    def fetch(leaf: Any) -> Any:
        if not _spans(leaf):
            return leaf
        if leaf.is_fully_replicated:
            return np.asarray(leaf)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(fetch, tree)


def put(array: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """`jax.device_put` of an array that all processes have; each gives its devices their part."""
    if sharding.is_fully_addressable or _spans(array):
        return jax.device_put(array, sharding)
    if not jnp.issubdtype(jnp.result_type(array), jax.dtypes.prng_key):
        array = np.asarray(array, jnp.result_type(array))
    return jax.make_array_from_callback(array.shape, sharding, lambda place: array[place])


def barrier_before(arguments: Any) -> None:
    """`meet()`, where some of the arrays lie on several processes.

    Their first contact through gloo must come within 30 seconds of each other, compiled or not; and
    no clock should count the wait for one that still compiles.
    """
    if not _alone() and any(map(_spans, jax.tree.leaves(arguments))):
        barrier()


def exit_together(code: int) -> None:
    """Before the exit of a process that cannot go on: waits for others that cannot either.

    Where they do not come this process ends here and now, with exit code `code`, and its traceback
    where it is not 2; the others notice when its heartbeats stop. One that cannot go on because
    another is gone waits for the runtime, which ends it and says which one.
    """
    if not jax.distributed.is_initialized():
        return
    said = str(error := sys.exception()).lower()
    if "gloo" in said or "coordination" in said:
        time.sleep(int(os.environ.get(HEARTBEAT, "100")) + 5)
    try:
        _client().wait_at_barrier("gsu_jax/leave", 3000)
    except RuntimeError:
        if code != 2:
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_with_the_launcher() -> None:
    os.read(0, 1)  # nothing is ever written there: this returns when the launcher is gone
    os._exit(1)


def _alone() -> bool:
    return _on_its_own or not jax.distributed.is_initialized() or count() == 1


@contextmanager
def _by_itself() -> Iterator[None]:
    """What process 0 does here the others do not: in it nobody is waited for."""
    global _on_its_own
    _on_its_own = True
    try:
        yield
    finally:
        _on_its_own = False


def _spans(array: Any) -> bool:
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def _client() -> Any:
    return distributed.global_state.client


def _key() -> str:
    """The same on all processes, since they meet in the same order."""
    return f"gsu_jax/{next(_numbers)}"


def _share(content: bytes | None = None) -> bytes:
    """The content of process 0, on all."""
    client, key = _client(), _key()
    if is_first():
        client.key_value_set_bytes(key, content)
    else:
        content = client.blocking_key_value_get_bytes(key, FOREVER)
    client.wait_at_barrier(f"{key}/heard", FOREVER)
    if is_first():
        client.key_value_delete(key)
    return content
