"""Starts processes that append to one ledger, and kills them: `LOCATION KEYS WRITERS KILLS EVENTS`.

One import serves all writers, which are forks. A writer says which events were acknowledged, each
in one write to a pipe. Without kills each writes its EVENTS; with kills, until it is killed.
"""

import json
import os
import random
import signal
import sys
import time

from gsu_jax.removal import Ledger, load_key


def write(ledger, key, name, events, said):
    for number in range(events):
        request = f"{name}-{number}"
        event = ledger.append("received", request, key, {"claim": "rows"})
        os.write(said, json.dumps([event.seq, event.hash, request]).encode() + b"\n")


def start(location, folder, name, events, said):
    """Returns the process of a writer."""
    child = os.fork()
    if child == 0:
        try:
            write(Ledger(location, "faces"), load_key(folder, "operator"), name, events, said)
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    return child


def main(location, folder, writers, kills, events):
    heard, said = os.pipe()
    draw = random.Random(0)
    codes, acknowledged = [], b""
    for round in range(max(kills, 1)):
        children = [
            start(location, folder, f"{round}-{writer}", 10**6 if kills else events, said)
            for writer in range(writers)
        ]
        if kills:
            if round % 4:  # on a busy machine a writer may need a while for its first event
                acknowledged += os.read(heard, 2**16)
            time.sleep(draw.uniform(0, 0.05))
            for child in children:
                os.kill(child, signal.SIGKILL)
        codes += [os.waitpid(child, 0)[1] for child in children]
    os.close(said)
    with os.fdopen(heard, "rb") as stream:
        acknowledged += stream.read()
    print(json.dumps({"codes": codes, "acknowledged": acknowledged.decode().splitlines()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
