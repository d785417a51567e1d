"""Devices to share batches over, from a few words: "data=8"."""

import re

import jax

from gsu_jax import processes

AXIS = "data"


def make_mesh(text: str) -> jax.sharding.Mesh:
    """The mesh that `text` describes, of the first so many devices.

    Args:
      text: "data=8": the axis `data`, along which each batch is shared, over eight devices.

    Raises:
      ValueError: `text` is not of that form, or there are fewer devices; says what to give.
    """
    found = re.fullmatch(r"(\w+)=(-?\d{1,9})", text)
    if found is None:
        raise ValueError(f"--mesh {text!r} is not of the form {AXIS}=N, such as {AXIS}=8.")
    axis, size = found[1], int(found[2])
    if axis != AXIS:
        raise ValueError(
            f"--mesh {text}: there is no axis {axis!r}; batches are shared along {AXIS!r}, as in "
            f"{AXIS}=8."
        )
    if size < 1:
        raise ValueError(f"--mesh {text}: the number of devices must be at least 1, found {size}.")
    if size > (there := jax.device_count()):
        raise ValueError(
            f"--mesh {text} asks for {size} devices, found {there} ({jax.default_backend()}); give "
            f"at most {AXIS}={there}, or simulate more on a CPU: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={size}."
        )
    return jax.make_mesh((size,), (AXIS,))


def check_processes(mesh: jax.sharding.Mesh | None) -> None:
    """Raises ValueError where some of several processes would have no part in the work."""
    if (there := processes.count()) == 1:
        return
    used = set() if mesh is None else {device.process_index for device in mesh.devices.flat}
    if len(used) < there:
        found = f"has devices of {len(used)} of them" if used else "is not given"
        raise ValueError(
            f"{there} processes share each batch over a mesh, which {found}; give --mesh "
            f"{AXIS}={jax.device_count()}, or start one process."
        )
