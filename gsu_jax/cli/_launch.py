"""Runs one script as several processes that share their devices, on this machine or on several.

One line on each machine, with its own --process:

    python -m gsu_jax launch --processes 2 --process 0 --coordinator HOST:PORT SCRIPT ...
    python -m gsu_jax launch --processes 2 --process 1 --coordinator HOST:PORT SCRIPT ...

HOST is the machine of process 0. Without --process all of them run here, to try it out. Process 0
writes and prints; when one is lost the others are stopped, and the same command goes on from there.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from gsu_jax.runtime import COORDINATOR, HEARTBEAT, PROCESS, PROCESSES, WAIT

KEPT = 50_000  # bytes of what a process said last
TOGETHER = 5.0  # seconds in which processes that stop for one reason do so
AGAIN = "the same command again goes on from the last checkpoint, with any number of processes"
# How XLA names the tasks whose heartbeats stopped, and process 0 where it is the one that is gone.
UNHEALTHY = re.compile(r"unhealthy \(stopped sending heartbeats\):\s*((?:\d+\s)+)")
LEADER = "Failed to send RPC to coordination service"


class Child:
    """One process of the run; what it says on standard error is kept, and passed on if `shown`."""

    def __init__(self, number: int, command: list[str], environment: dict, shown: bool) -> None:
        self.number, self.shown, self.said = number, shown, b""
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | {PROCESS: str(number)},
            stdin=subprocess.PIPE,  # which ends with the launcher, and the child with it
            stdout=None if shown else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the launcher
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        while heard := self.process.stderr.read1():
            self.said = (self.said + heard)[-KEPT:]
            if self.shown:
                _pass_on(heard)

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Kills it, whatever it is doing: a run survives that at any moment."""
        if self.code is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.listener.join(1.0)

    def lost(self) -> dict[int, str]:
        """The processes that are gone, as far as the end of this one tells, and how they went."""
        said = self.said.decode(errors="replace")
        if named := UNHEALTHY.search(said):
            return {int(n): "no sign of life from it" for n in named[1].split()}
        if self.number and LEADER in said:
            return {0: "nothing answers at its machine"}
        if self.code < 0 and self.code != -signal.SIGABRT:
            return {self.number: f"killed by signal {-self.code}"}
        return {}


def main() -> None:
    """The command line."""
    arguments = _arguments()
    here = range(arguments.processes) if arguments.process is None else [arguments.process]
    environment = {
        COORDINATOR: arguments.coordinator or f"127.0.0.1:{_free_port()}",
        PROCESSES: str(arguments.processes),
        WAIT: str(arguments.wait),
        HEARTBEAT: str(arguments.heartbeat),
    }
    if sys.stderr.isatty():
        environment["TTY_COMPATIBLE"] = "1"  # for rich: bars, though they come through a pipe
    command = [sys.executable, str(arguments.script), *arguments.arguments]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    children = []
    try:
        for number in here:
            children.append(Child(number, command, environment, shown=number == here[0]))
        code = _watch(children, arguments.processes)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command again goes on from here", file=sys.stderr)
        code = 130
    finally:
        for child in children:
            child.stop()
    sys.exit(code)


def _watch(children: list[Child], processes: int) -> int:
    """Waits for the end of all, or of one that fails; says what is to be said, returns the code."""
    while not any(child.code for child in children):
        if all(child.code == 0 for child in children):
            return 0
        time.sleep(0.05)
    first = next(child for child in children if child.code)
    first.listener.join(1.0)
    if lost := first.lost():
        for number, how in lost.items():
            print(f"process {number} of {processes} was lost ({how}); {AGAIN}", file=sys.stderr)
        return 1
    deadline = time.monotonic() + TOGETHER
    while any(child.code is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    shown = children[0]
    if shown.code:
        return abs(shown.code)
    _pass_on(first.said)  # it failed alone
    print(
        f"process {first.number} of {processes} failed (exit code {first.code}), which stopped the "
        "others",
        file=sys.stderr,
    )
    return abs(first.code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gsu_jax launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--processes", type=int, required=True, metavar="N", help="how many, on all machines")
    add("--process", type=int, metavar="I", help="which one runs here, from 0; by default all do")
    add("--coordinator", metavar="HOST:PORT", help="the machine of process 0, and a free port")
    add("--wait", type=float, default=300, metavar="SECONDS", help="for all to come (300)")
    add(
        "--heartbeat",
        type=int,
        default=20,
        metavar="SECONDS",
        help="without a sign of life, after which a process is lost (20)",
    )
    add("script", type=Path, help="such as experiments/mnist138.py")
    add("arguments", nargs=argparse.REMAINDER, help="of the script, such as --mesh data=8")
    found = parser.parse_args()

    def refuse(message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)

    if found.processes < 1:
        refuse(f"--processes must be at least 1, found {found.processes}.")
    if (found.process is None) != (found.coordinator is None):
        refuse(
            "--process and --coordinator go together: with both one process runs here, without "
            "them all do."
        )
    if found.process is not None and not 0 <= found.process < found.processes:
        refuse(
            f"--process must be one of 0 to {found.processes - 1}, found {found.process}; "
            f"--processes says how many there are."
        )
    if found.coordinator is not None and not re.fullmatch(r".+:\d{1,5}", found.coordinator):
        refuse(f"--coordinator {found.coordinator!r} is not of the form HOST:PORT.")
    if not found.wait > 0 or found.heartbeat < 1:
        refuse(
            f"--wait and --heartbeat must be above 0, found {found.wait:g} and {found.heartbeat}."
        )
    if not found.script.is_file():
        refuse(f"there is no script {found.script}.")
    return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _pass_on(said: bytes) -> None:
    sys.stderr.buffer.write(said)
    sys.stderr.buffer.flush()
