"""Compiled programs, kept on disk from one command to the next."""

import hashlib
import os
import platform
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import jax

from gsu_jax.runtime import is_first

LARGEST = 2**30  # bytes; JAX then drops what was used least recently


def keep_programs() -> None:
    """Makes JAX keep compiled programs in the user's cache folder.

    JAX's own settings win: nothing changes if `JAX_COMPILATION_CACHE_DIR` is set. JAX keys a
    program by its code, the versions of JAX and XLA, flags and devices. A program for a CPU holds
    machine code, so that each kind of processor has a folder of its own.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = program_folder()
    try:
        is_new = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _say(f"warning: compiled programs are not kept: {folder}: {error.strerror or error}")
        return
    if is_new:
        _say(f"compiled programs are kept in {folder}; --no-program-cache turns this off")
    settings = {
        "jax_compilation_cache_max_size": LARGEST,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    jax.config.update("jax_compilation_cache_dir", str(folder))


def program_folder() -> Path:
    """Returns the folder for programs of this processor, beside the cache of images."""
    base = os.environ.get("GSU_JAX_CACHE_DIR")
    if not base:
        user = os.environ.get("XDG_CACHE_HOME", "")
        # Without a home folder `expanduser` raises, or leaves "~", which is no folder to make.
        with suppress(RuntimeError):
            user = user if os.path.isabs(user) else str(Path("~/.cache").expanduser())
        base = Path(user or os.devnull) / "gsu_jax"
    return Path(base).expanduser() / "programs" / _processor()


def _processor() -> str:
    """A short name for the instructions that the CPU has."""
    features = f"{platform.machine()} {platform.processor()}"
    with suppress(OSError):  # Linux alone has this file
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features", "model name")):
                features += line
            elif not line.strip():  # the first core stands for all
                break
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


def _say(line: str) -> None:
    if is_first():
        print(line, file=sys.stderr)
