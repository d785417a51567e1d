"""Runs one script as several processes that share their devices.

All processes on this machine, to try it out:

    gsu-jax launch --processes 2 SCRIPT ...

One process on each machine, with its own --process; HOST is the machine of process 0:

    gsu-jax launch --processes 2 --process 0 --coordinator HOST:PORT SCRIPT ...
    gsu-jax launch --processes 2 --process 1 --coordinator HOST:PORT SCRIPT ...

SCRIPT may be the name of an experiment, such as mnist138. Process 0 writes and prints. If a process
is lost, the others stop, and the same command resumes.
Slurm, Open MPI and Kubernetes start the script themselves, without this command.
"""

import argparse
import codecs
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from gsu_jax.cli._console import EXPERIMENTS
from gsu_jax.cli._mistakes import Parser
from gsu_jax.runtime import HEARTBEAT, LAUNCHED, explain_abort, own_words, timeouts

TOGETHER = 5.0  # seconds in which processes that stop for the same reason do so
AGAIN = "the same command again resumes from the last checkpoint, with any number of processes"


class Child(subprocess.Popen):
    """One process of the run. Its standard error is kept, and passed on if `shown`."""

    def __init__(self, command: list[str], settings: dict, shown: bool) -> None:
        self.number, self.shown, self.said = settings["process_id"], shown, ""
        environment = os.environ | {LAUNCHED: json.dumps(settings)}
        if sys.stderr.isatty():
            environment["TTY_COMPATIBLE"] = "1"  # rich draws bars although they come by a pipe
        super().__init__(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if shown else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the launcher
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self.stderr as stream:
            while heard := stream.read1():
                self.said += (heard := decoder.decode(heard))
                if self.shown and own_words(self.said) == self.said:
                    print(heard, end="", file=sys.stderr, flush=True)


def main() -> int:
    """Runs the command line and returns the exit code."""
    arguments = _arguments()
    here = range(arguments.processes) if arguments.process is None else [arguments.process]
    settings = {
        "coordinator_address": arguments.coordinator or f"127.0.0.1:{_free_port()}",
        "num_processes": arguments.processes,
        "initialization_timeout": arguments.wait,
        "cluster_detection_method": "deactivate",
        **timeouts(arguments.heartbeat),
    }
    command = [sys.executable, *arguments.script, *arguments.arguments]
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    children = []
    try:
        for number in here:
            shown = number == here[0]
            children.append(Child(command, settings | {"process_id": number}, shown))
        return _watch(children)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command again resumes from here", file=sys.stderr)
        return 130
    finally:
        for child in children:
            child.kill()  # a run survives that at any moment
            child.wait()
            child.listener.join(1.0)


def _watch(children: list[Child]) -> int:
    """Waits for the end of all, or of one that fails. Says why, and returns the exit code."""
    while not any(child.poll() for child in children):
        if all(child.poll() == 0 for child in children):
            return 0
        time.sleep(0.05)
    first = next(child for child in children if child.poll())
    first.listener.join(1.0)
    if first.returncode == -signal.SIGABRT:
        why = explain_abort(first.said) or f"process {first.number} was aborted: {first.said}"
    elif first.returncode < 0:
        why = f"process {first.number} was lost (killed by signal {-first.returncode})"
    else:
        why = f"process {first.number} failed, which stopped the others"
        deadline = time.monotonic() + TOGETHER
        while children[0].poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if code := children[0].poll():  # it has said the same
            return code
    if "failed" in why:
        for child in children[1:]:  # the first is shown
            print(own_words(child.said), end="", file=sys.stderr)
    print(f"{why}; {AGAIN}", file=sys.stderr)
    return 1


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog="gsu-jax launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, seconds = parser.add_argument, {"type": int, "metavar": "SECONDS"}
    add("--processes", type=int, required=True, metavar="N", help="on all machines together")
    add("--process", type=int, metavar="I", help="which one runs here, from 0; by default all do")
    add("--coordinator", metavar="HOST:PORT", help="the machine of process 0, and a free port")
    add("--wait", default=300, help="for all processes to come (300)", **seconds)
    add("--heartbeat", default=HEARTBEAT, help="after which a silent one is lost (20)", **seconds)
    add("script", help="such as experiments/mnist138.py, or an experiment, such as mnist138")
    add("arguments", nargs=argparse.REMAINDER, help="of the script, such as --mesh data=8")
    found = parser.read()
    for name in ("processes", "wait", "heartbeat"):
        if getattr(found, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(found, name)}")
    if (found.process is None) != (found.coordinator is None):
        parser.error("--process and --coordinator need each other, got only one of them")
    if found.process is not None and not 0 <= found.process < found.processes:
        parser.error(f"--process must be 0 to {found.processes - 1}, got {found.process}")
    if found.coordinator is not None and not re.fullmatch(r".+:\d{1,5}", found.coordinator):
        parser.error(f"--coordinator must be HOST:PORT, got {found.coordinator!r}")
    if Path(found.script).is_file():
        found.script = [found.script]
    elif found.script in (*EXPERIMENTS, "run"):
        found.script = ["-m", "gsu_jax", found.script]
    else:
        parser.error(f"there is no script {found.script}, and no experiment of that name")
    return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
