"""Takes commands on a disk with little room and prints what each said: `FOLDER MOUNT`.

Runs in a mount namespace of its own. MOUNT is an empty folder, over which a file system in memory
is mounted; the desk FOLDER is copied there. Each step is given with less room than it needs, and
again with more, until it is done.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from removal_desk import NUMBER

from gsu_jax.cli import _removal
from gsu_jax.removal import verification
from gsu_jax.removal.service import Case

SIZE = 2**20
ROOM = (0, 4, 16, 48, 512)  # KiB


def leave(room, disk):
    """Fills the disk but for so many KiB."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    with filler.open("wb") as file:
        file.write(bytes(max(0, free - room * 1024)))


def say(*words):
    printed, errors = io.StringIO(), io.StringIO()
    printed.reconfigure = lambda **_: None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = _removal.main(words)
    return code, printed.getvalue(), errors.getvalue()


def verify(home):
    """What `verify` leaves in the ledger, without its minute."""
    case = Case(home, NUMBER)
    lines = verification({"V2 share": "PASSED"}, configuration="c" * 64)
    case.ledger.append("verified", NUMBER, case.key("verifier"), lines, checkpoint=case.checkpoint)


def main(folder, mount):
    disk = Path(mount)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", mount], check=True)
    shutil.copytree(folder, disk, dirs_exist_ok=True)
    home, said = disk / "removals", []
    os.chdir(disk)
    for name in ("plan", "run", "report", "release", "close"):
        what = "request.toml" if name == "plan" else NUMBER
        for room in ROOM:
            leave(room, disk)
            said.append((name, room, *say(name, what, "--folder", str(home))))
            if said[-1][2] == 0:
                break
        if name == "run":
            leave(512, disk)
            verify(home)
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
