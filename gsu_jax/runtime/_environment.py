"""The software and hardware that a result was computed with."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax


def describe_environment() -> dict[str, Any]:
    """Returns versions, devices, CPU cores, the date and, in a git checkout, the commit.

    Returns:
        A dictionary that JSON can hold.

    Example:
        >>> describe_environment()["processes"]
        1
    """
    packages = ("gsu-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {name: _version(name) for name in packages}
    kinds = [device.device_kind for device in jax.devices()]
    return {
        "jax": jax.__version__,
        "devices": [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)],
        "processes": jax.process_count(),
        "cpus": os.cpu_count(),
        "git": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
