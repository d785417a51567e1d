"""Processes of several machines wait for each other, and say who did not come.

JAX's own runtime waits too, but ends in an abort that names nobody. Process 0 listens where JAX's
coordinator will; the others call there until all have come or the time is over.
"""

import contextlib
import json
import selectors
import socket
import time

PAUSE = 0.2  # seconds between two calls
GRACE = 5.0  # seconds for an answer that is on its way


def rendezvous(coordinator: str, processes: int, process: int, wait: float) -> None:
    """Returns when all processes have called it with the same coordinator.

    Args:
      coordinator: "HOST:PORT" of process 0, free for JAX when this returns.
      processes: how many there are.
      process: which one this is, from 0.
      wait: seconds.

    Raises:
      TimeoutError: some did not come in time; names them, on every process that came.
      ValueError: two came under one number, or with another number of processes.
      OSError: process 0 cannot listen there.
    """
    host, _, port = coordinator.rpartition(":")
    address = (host.strip("[]"), int(port))
    deadline = time.monotonic() + wait
    if process == 0:
        trouble = _receive(address, processes, deadline)
    else:
        trouble = _call(address, {"process": process, "processes": processes}, deadline)
    if isinstance(trouble, str):
        raise ValueError(trouble)
    if trouble:
        names = ", ".join(map(str, trouble))
        raise TimeoutError(
            f"process{'es' * (len(trouble) > 1)} {names} of {processes} did not come to "
            f"{coordinator} within {wait:g} s; start the same command there with its --process, "
            "check that machines reach each other at this port, or give a longer --wait."
        )


def _receive(address: tuple[str, int], processes: int, deadline: float) -> list[int] | str:
    """Process 0: who is missing at the end, or what is wrong, told to all that came."""
    try:
        server = socket.create_server(("", address[1]))
    except OSError as error:
        raise OSError(
            f"process 0 cannot listen at port {address[1]} ({error.strerror or error}); give "
            "another in --coordinator."
        ) from error
    came: dict[int, socket.socket] = {}
    trouble = ""
    with server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while len(came) < processes - 1 and not trouble and (left := _left(deadline)):
            for key, _ in selector.select(left):
                if key.fileobj is server:
                    caller, _ = server.accept()
                    caller.settimeout(GRACE)
                    number, trouble = _greeting(caller, processes, came)
                    if number is not None:
                        came[number] = caller
                        selector.register(caller, selectors.EVENT_READ, number)
                else:  # nothing is said twice: it hung up, and may call again
                    selector.unregister(key.fileobj)
                    came.pop(key.data).close()
        missing = [] if trouble else sorted({*range(1, processes)} - came.keys())
        for caller in came.values():
            _say(caller, trouble or missing)
    for caller in came.values():
        _hear(caller)  # until it hangs up: who does so first keeps the port from being used again
        caller.close()
    return trouble or missing


def _greeting(
    caller: socket.socket, processes: int, came: dict[int, socket.socket]
) -> tuple[int | None, str]:
    """The number of a process that has just called, and what is wrong with it."""
    said = _hear(caller)
    if not isinstance(said, dict) or not {"process", "processes"} <= said.keys():
        caller.close()  # a stranger at the port
        return None, ""
    number, trouble = said["process"], ""
    if said["processes"] != processes:
        trouble = (
            f"process {number} was started with --processes {said['processes']}, process 0 with "
            f"{processes}; give all the same."
        )
    elif number in came:
        trouble = f"two processes are number {number}; give each a --process of its own."
    if trouble:
        _say(caller, trouble)
        caller.close()
        return None, trouble
    return number, ""


def _call(address: tuple[str, int], greeting: dict, deadline: float) -> list[int] | str:
    """Another process: what process 0 says; [0] where it never came."""
    while left := _left(deadline):
        # Until it listens, and its machine can be reached.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(address, timeout=left) as server,
        ):
            _say(server, greeting)
            server.settimeout(_left(deadline) + GRACE)
            if (said := _hear(server)) is not None:
                return said
        time.sleep(PAUSE)
    return [0]


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.0)


def _say(connection: socket.socket, message: object) -> None:
    with contextlib.suppress(OSError):  # it is gone; who waits for it will say so
        connection.sendall(json.dumps(message).encode() + b"\n")


def _hear(connection: socket.socket) -> object:
    """One line of JSON; None where there is none."""
    try:
        with connection.makefile("rb") as lines:
            return json.loads(lines.readline(1000))
    except (OSError, ValueError):
        return None
