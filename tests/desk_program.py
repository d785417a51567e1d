"""Takes a request through its steps in a process that kills itself: `FOLDER MOMENT [STEP ...]`.

A moment is the time before a file takes its place or goes, before a folder goes, and before and
after an event enters the ledger. MOMENT 0 kills nothing.
"""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from unittest import mock

from gsu_jax.removal import Ledger, read_request
from gsu_jax.removal.service import Case, close, plan, release, run, verify_case

NUMBER = "2026-014"


def moments(cut):
    """Calls `cut()` at each moment while the block runs."""

    def around(function):
        def wrapped(*args, **kwargs):
            cut()
            found = function(*args, **kwargs)
            if function.__name__ == "append":
                cut()
            return found

        return wrapped

    return [
        mock.patch.object(owner, name, around(getattr(owner, name)))
        for owner, name in (
            (os, "replace"),
            (Ledger, "append"),
            (shutil, "rmtree"),
            (Path, "unlink"),
        )
    ]


class Cut(BaseException):
    """A kill that leaves the process alive."""


def cut_at(moment, step):
    """Runs a step until that moment; returns whether it was reached."""
    left = [moment]

    def cut():
        left[0] -= 1
        if left[0] == 0:
            raise Cut

    with contextlib.ExitStack() as stack:
        for patch in moments(cut):
            stack.enter_context(patch)
        try:
            step()
        except Cut:
            return True
    return False


def steps(folder):
    """Each step of the request of a desk, as a new command takes it."""
    home = Path(folder) / "removals"

    def case():
        return Case(home, NUMBER, project="faces")

    return {
        "plan": lambda: plan(read_request(Path(folder) / "request.toml"), case()),
        "run": lambda: run(case()),
        "verify": lambda: verify_case(case(), samples=200),
        "release": lambda: release(case(), although_failed=True),
        "close": lambda: close(case()),
    }


def main(folder, moment, *names):
    left = [int(moment)]

    def cut():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    patches = moments(cut)
    for patch in patches:
        patch.start()
    for name in names:
        steps(folder)[name]()


if __name__ == "__main__":
    main(*sys.argv[1:])
