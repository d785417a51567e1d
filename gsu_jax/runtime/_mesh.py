"""Meshes of devices from a short text: "data=8", "data=4,model=2"."""

import math
import re

import jax

from gsu_jax.checks import at_least
from gsu_jax.runtime._processes import count as process_count

AXES = ("data", "model")


def make_mesh(text: str) -> jax.sharding.Mesh:
    """Returns the mesh that `text` describes, of the first devices.

    Args:
        text: "data=8" shares each batch over eight devices, along the axis `data`.
            "data=4,model=2" shares it over four pairs; each pair splits the parameters along the
            axis `model`.

    Raises:
        ValueError: `text` does not have that form, or there are fewer devices.

    Example:
        >>> dict(make_mesh("data=1").shape)
        {'data': 1}
    """
    matches = [re.fullmatch(r"(\w+)=(-?\d{1,9})", part) for part in text.split(",")]
    names = [match and match[1] for match in matches]
    if None in names or len(set(names)) < len(names):
        raise ValueError(
            f"--mesh must have the form data=N or data=N,model=M, such as data=8, got {text!r}"
        )
    if unknown := [name for name in names if name not in AXES]:
        raise ValueError(
            f"--mesh {text}: unknown axis {unknown[0]!r}; 'data' shares batches and 'model' splits "
            "parameters, as in data=4,model=2"
        )
    sizes = {name: int(match[2]) for name, match in zip(names, matches, strict=True)}
    at_least(1, **{f"--mesh {name}": size for name, size in sizes.items()})
    shape = [sizes.get("data", 1)] + [sizes[name] for name in AXES[1:] if name in sizes]
    wanted = math.prod(shape)
    if wanted > (available := jax.device_count()):
        raise ValueError(
            f"--mesh {text} needs {wanted} devices, got {available} ({jax.default_backend()}); "
            f"give at most data={available}, or simulate more on a CPU by "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted}"
        )
    return jax.make_mesh(shape, AXES[: len(shape)])


def check_processes(mesh: jax.sharding.Mesh | None) -> None:
    """Raises ValueError unless the mesh contains devices of every process."""
    if (processes := process_count()) == 1:
        return
    used = set() if mesh is None else {device.process_index for device in mesh.devices.flat}
    if len(used) < processes:
        raise ValueError(
            f"--mesh must have devices of all {processes} processes, got those of {len(used)}; "
            f"give --mesh data={jax.device_count()}, or start one process"
        )
